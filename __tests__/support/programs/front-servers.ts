/** The servers that stand in front of an app, as Debian has them. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import tls from 'node:tls';
import { type Ask, http1Asker, http2Asker } from '../clients/ask.js';
import { certificate } from '../servers/certificate.js';
import { onCleanUp } from '../watch/clean-up.js';
import { stop } from './run.js';

/** What a configuration is written with: paths, and the port of the app. */
interface Place {
  folder: string;
  /** The Unix sockets to listen on: for HTTP/1.1, and for HTTP/2 over TLS. */
  plain: string;
  secure: string;
  /** A certificate and its key in one file. */
  pem: string;
  port: number;
}

export interface FrontServer {
  name: string;
  version: string;
  /** Settings without which it does not notice at once that a client has left. */
  noticing: string;
  /** Whether a response that the app has cut is cut for the client, too: of HTTP/1.1, and of HTTP/2. */
  cuts: { http1: boolean; http2: boolean };
  /** Its configuration: the defaults, but for where it listens and what it is to forward to, and these settings. */
  config(place: Place, settings: string): string;
  /** Its arguments, for a configuration in this file. */
  args(file: string, folder: string): string[];
}

// Debian has nginx and haproxy where only root looks by default.
const env = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };

/** What a program says when it is asked for its version. */
function versionOf(program: string, argument: string): string {
  const { error, stdout, stderr } = spawnSync(program, [argument], { env, encoding: 'utf8' });
  if (error !== undefined) throw error;
  return /\d+\.\d+\.\d+/.exec(stdout + stderr)?.[0] ?? '';
}

/** What nginx needs around its servers to run for a test. */
export function nginxAround({ folder }: Pick<Place, 'folder'>, servers: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  return `
    daemon off;
    # One process: it runs as whoever runs the test, and ends at once.
    master_process off;
    pid ${folder}/nginx.pid;
    error_log stderr warn;
    events {}
    http {
      access_log off;
      ${temporary.map((name) => `${name}_temp_path ${folder};`).join('\n')}
      ${servers}
    }
  `;
}

export const nginx: FrontServer = {
  name: 'nginx',
  version: versionOf('nginx', '-v'),
  noticing: '',
  cuts: { http1: true, http2: true },
  config: ({ folder, plain, secure, pem, port }, settings) =>
    nginxAround(
      { folder },
      `
      server {
        listen unix:${plain};
        listen unix:${secure} ssl http2;
        ssl_certificate ${pem};
        ssl_certificate_key ${pem};
        location / {
          proxy_pass http://127.0.0.1:${port};
          ${settings}
        }
      }
      `,
    ),
  args: (file, folder) => ['-p', folder, '-c', file],
};

const haproxy: FrontServer = {
  name: 'haproxy',
  version: versionOf('haproxy', '-v'),
  // Without it the end of what a client sends is no reason to stop: https://github.com/haproxy/haproxy/issues/1505.
  noticing: 'option abortonclose',
  // HAProxy 2.6 ends the stream of HTTP/2 as if it were whole.
  cuts: { http1: true, http2: false },
  config: ({ plain, secure, pem, port }, settings) => `
    defaults
      mode http
      # It warns where these are missing.
      timeout connect 10s
      timeout client 60s
      timeout server 60s
      ${settings}
    listen app
      bind unix@${plain}
      bind unix@${secure} ssl crt ${pem} alpn h2
      server app 127.0.0.1:${port}
  `,
  args: (file) => ['-db', '-f', file],
};

/** What Caddy needs in front of its sites to run for a test. */
export const caddyOptions = ({ folder }: Pick<Place, 'folder'>): string => `
    {
      admin off
      auto_https off
      storage file_system ${folder}
      servers {
        # HTTP/3 needs a port.
        protocols h1 h2
      }
    }
`;

const caddyVersion = versionOf('caddy', 'version');

// Earlier ones end what was cut as if it were whole: https://github.com/caddyserver/caddy/pull/5952.
const caddyCuts = caddyVersion.localeCompare('2.7.6', 'en', { numeric: true }) >= 0;

const caddy: FrontServer = {
  name: 'caddy',
  version: caddyVersion,
  noticing: '',
  cuts: { http1: caddyCuts, http2: caddyCuts },
  config: ({ folder, plain, secure, pem, port }, settings) => `
    ${caddyOptions({ folder })}
    http://localhost {
      bind unix/${plain}
      reverse_proxy 127.0.0.1:${port} {
        ${settings}
      }
    }
    https://localhost {
      bind unix/${secure}
      tls ${pem} ${pem}
      reverse_proxy 127.0.0.1:${port} {
        ${settings}
      }
    }
  `,
  args: (file) => ['run', '--config', file, '--adapter', 'caddyfile'],
};

export const FRONT_SERVERS: readonly FrontServer[] = [nginx, haproxy, caddy];

/** Starts a server in front of a port; resolves with what asks it, over HTTP/1.1 and over HTTP/2. */
export async function startFront(front: FrontServer, port: number, settings = ''): Promise<{ http1: Ask; http2: Ask }> {
  const folder = await mkdtemp(join(tmpdir(), 'front-'));
  onCleanUp(() => rm(folder, { recursive: true, force: true }));
  const at = (name: string): string => join(folder, name);
  const place = { folder, plain: at('plain.sock'), secure: at('secure.sock'), pem: at('certificate.pem'), port };
  const { key, cert } = await certificate();
  await writeFile(place.pem, `${cert}\n${key}\n`);
  await writeFile(at('config'), `${front.config(place, settings)}\n`);
  const child = spawn(front.name, front.args(at('config'), folder), { env, stdio: ['ignore', 'ignore', 'pipe'] });
  onCleanUp(() => stop(child));
  let log = '';
  child.stderr.on('data', (chunk) => {
    log += chunk;
  });
  while (!(await accepts(place.plain)) || !(await accepts(place.secure))) {
    if (child.exitCode !== null) throw new Error(`${front.name} did not start: ${log}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return {
    http1: http1Asker(() => net.connect(place.plain)),
    http2: http2Asker(() =>
      tls.connect({ path: place.secure, ALPNProtocols: ['h2'], servername: 'localhost', ca: cert }),
    ),
  };
}

function accepts(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(path, () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
}
