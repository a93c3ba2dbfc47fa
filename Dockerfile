# The host with its bundled experts. `docker build -t nebula-experts .`; see docs/operating.md.
ARG NODE=24-bookworm-slim

FROM node:${NODE} AS build
WORKDIR /app
ENV ONNXRUNTIME_NODE_INSTALL=skip
# What is installed changes less often than the code: it is a layer of its own.
COPY .npmrc package.json package-lock.json ./
COPY sdk/package.json sdk/
COPY host/package.json host/
COPY plugins/detect-objects/package.json plugins/detect-objects/
COPY plugins/embed-image/package.json plugins/embed-image/
COPY plugins/embed-text/package.json plugins/embed-text/
COPY plugins/hello-world/package.json plugins/hello-world/
COPY plugins/ocr/package.json plugins/ocr/
COPY plugins/onnx/package.json plugins/onnx/
COPY plugins/videoprocessing/package.json plugins/videoprocessing/
COPY plugins/voice-activity/package.json plugins/voice-activity/
RUN npm ci
COPY . .
RUN npm run build
RUN npm prune --omit=dev
# ONNX Runtime brings libraries for every platform: two thirds of what is installed.
RUN cd node_modules/onnxruntime-node/bin/napi-v* \
    && find . -mindepth 1 -maxdepth 1 ! -name linux -exec rm -r {} + \
    && find linux -mindepth 1 -maxdepth 1 ! -name "$(node -p process.arch)" -exec rm -r {} +
RUN rm -rf test bench tools sdk/test host/test plugins/*/test

FROM node:${NODE}
# tini takes in what a killed expert leaves behind; ffmpeg is for movies and sound.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ffmpeg tini \
    && rm -rf /var/lib/apt/lists/*
RUN mkdir -p /data /plugins && chown node:node /data
WORKDIR /app
COPY --from=build /app /app
COPY docker/experts.config.json /app/experts.config.json
ENV NODE_ENV=production NEBULA_DATA_DIR=/data PORT=8000
USER node
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["node", "-e", "fetch(`http://127.0.0.1:${process.env.PORT}/health/ready`).then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["tini", "--"]
CMD ["node", "host/dist/main.js", "serve"]
