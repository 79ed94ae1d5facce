"""`python -m structllm` is `structllm`."""

from structllm.cli import main

if __name__ == "__main__":
    main()
