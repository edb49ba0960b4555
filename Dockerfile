# The command `diabolo`, with its server:  docker build -t diabolo .
# docker run -v "$PWD:/work" diabolo score run new.csv
FROM python:3.12-slim AS build
COPY . /source
RUN python -m venv /opt/diabolo && /opt/diabolo/bin/pip install --no-cache-dir "/source[serve,onnx,excel,sql]"

FROM python:3.12-slim
COPY --from=build /opt/diabolo /opt/diabolo
ENV PATH=/opt/diabolo/bin:$PATH
RUN useradd --create-home diabolo
USER diabolo
WORKDIR /work
ENTRYPOINT ["diabolo"]
CMD ["--help"]
