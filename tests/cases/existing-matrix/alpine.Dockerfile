FROM php-base AS common
WORKDIR /app

FROM common AS builder
ARG FRANKENPHP_VERSION
COPY --from=golang-base /usr/local/go /usr/local/go
RUN echo "$FRANKENPHP_VERSION" > /server

FROM common AS runner
COPY --from=builder /server /server
