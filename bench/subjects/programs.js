// @ts-check
// The subjects that are programs: how they are configured and started. Each streams without buffering, keeps its connections
// to the upstream, tells it of clients that leave, and has one worker on the one core that a subject has. (Caddy does so by
// itself; with `flush_interval -1` it would not tell.)

/**
 * @typedef {object} Program
 * @property {string[]} version The command that tells it
 * @property {(config: string) => string[]} command
 * @property {(port: number, target: URL, directory: string) => string} config
 */

/** @type {Record<string, Program>} */
export const PROGRAMS = {
  nginx: {
    version: ['nginx', '-v'],
    command: (config) => ['nginx', '-e', 'stderr', '-c', config],
    config: (port, { protocol, host }, directory) => `
      daemon off;
      worker_processes 1;
      pid ${directory}/nginx-${port}.pid;
      error_log stderr crit;
      events { worker_connections 40000; }
      http {
        access_log off;
        client_body_temp_path ${directory};
        proxy_temp_path ${directory};
        fastcgi_temp_path ${directory};
        uwsgi_temp_path ${directory};
        scgi_temp_path ${directory};
        keepalive_requests 1000000;
        upstream api { server ${host}; keepalive 128; }
        server {
          listen 127.0.0.1:${port} backlog=4096;
          location / {
            proxy_pass ${protocol}//api;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 1h;
          }
        }
      }`,
  },

  haproxy: {
    version: ['haproxy', '-v'],
    command: (config) => ['haproxy', '-db', '-q', '-f', config],
    config: (port, { protocol, host }) => `
global
  nbthread 1
defaults
  mode http
  timeout connect 10s
  timeout client 1h
  timeout server 1h
frontend clients
  bind 127.0.0.1:${port} backlog 4096
  default_backend api
backend api
  http-reuse always
  option abortonclose
  option http-no-delay
  server api ${host} ${protocol === 'https:' ? 'ssl verify none' : ''}
`,
  },

  caddy: {
    version: ['caddy', 'version'],
    command: (config) => ['caddy', 'run', '--adapter', 'caddyfile', '--config', config],
    config: (port, { protocol, host }) => `
{
  admin off
  auto_https off
  log {
    output discard
  }
}
http://127.0.0.1:${port} {
  bind 127.0.0.1
  reverse_proxy ${host} {
    ${protocol === 'https:' ? 'transport http {\n tls_insecure_skip_verify\n }' : ''}
  }
}
`,
  },
};
