FROM golang-base
ARG FRANKENPHP_VERSION
COPY --from=composer/composer:2-bin /composer /usr/bin/composer
RUN echo "$FRANKENPHP_VERSION" > /server
