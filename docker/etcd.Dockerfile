# etcd as Debian packages it. `scripts/image` builds this. A base that holds etcd already needs no network.
ARG BASE=debian:bookworm-slim
FROM ${BASE}

RUN command -v etcd && command -v etcdctl || { \
        apt-get update && \
        apt-get install --yes --no-install-recommends etcd-server etcd-client && \
        rm -rf /var/lib/apt/lists/*; \
    }
RUN install --directory --owner 7401 --group 7401 --mode 0700 /var/lib/forebay-etcd

ENV ETCDCTL_API=3
USER 7401:7401
EXPOSE 2379
CMD ["etcd"]
