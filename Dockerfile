# docker build -t fathomseg .
# docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" fathomseg train own-data data.root=mydata
#
# PyTorch comes from PyPI, with CUDA on x86-64. For a smaller image without a GPU:
#   docker build --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu -t fathomseg .
FROM python:3.12-slim

ARG TORCH_INDEX=https://pypi.org/simple
COPY constraints.txt /tmp/
RUN torch="$(grep '^torch==' /tmp/constraints.txt)" && pip install --no-cache-dir --index-url "$TORCH_INDEX" "$torch"

COPY pyproject.toml README.md LICENSE /src/
COPY src /src/src
COPY recipes /src/recipes
RUN pip install --no-cache-dir --constraint /tmp/constraints.txt '/src[offline,hf,onnx]' && rm -r /src

WORKDIR /work
ENTRYPOINT ["fathom"]
CMD ["--help"]
