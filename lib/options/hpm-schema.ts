import type { Options } from 'http-proxy-middleware';
import { aBoolean, aString, aTarget, type Check, headerObject } from '../util/checks.js';
import {
  aFilter,
  aLogger,
  anObject,
  anything,
  aRewrite,
  aStringOrNull,
  aTable,
  functions,
  listeners,
  milliseconds,
  redirects,
} from './validators.js';

/** Every option of http-proxy-middleware; the compiler insists that none is missing here. */
export const HPM_OPTIONS = {
  target: aTarget,
  forward: aTarget,
  router: aTable,
  pathFilter: aFilter,
  pathRewrite: aTable,
  plugins: functions,
  ejectPlugins: aBoolean,
  on: listeners,
  logger: aLogger,
  agent: anything,
  http2: aBoolean,
  ssl: anObject,
  ws: aBoolean,
  xfwd: aBoolean,
  secure: aBoolean,
  toProxy: aBoolean,
  prependPath: aBoolean,
  ignorePath: aBoolean,
  localAddress: aString,
  changeOrigin: aBoolean,
  preserveHeaderKeyCase: aBoolean,
  auth: aString,
  hostRewrite: aStringOrNull,
  autoRewrite: aBoolean,
  protocolRewrite: aStringOrNull,
  cookieDomainRewrite: aRewrite,
  cookiePathRewrite: aRewrite,
  headers: headerObject,
  proxyTimeout: milliseconds,
  upgradeTimeout: milliseconds,
  timeout: milliseconds,
  selfHandleResponse: aBoolean,
  followRedirects: redirects,
  buffer: anObject,
} satisfies Record<keyof Options, Check>;

/**
 * Options for which http-proxy-middleware takes `null` as a value: `agent` is then none at all, and `pathFilter` wrong. Of all others
 * it asks but whether they are truthy, so that null is none.
 */
export const NULL_IS_A_VALUE: ReadonlySet<string> = new Set<keyof Options>(['agent', 'pathFilter']);

/** The events of http-proxy-middleware. A listener of any other one would never be called. */
export const HPM_EVENTS = [
  'error',
  'proxyReq',
  'proxyReqWs',
  'proxyRes',
  'open',
  'close',
  'start',
  'end',
  'econnreset',
] as const satisfies readonly (keyof NonNullable<Options['on']>)[];

/** What Node's TLS, `http.request` or httpxy takes, and where that is to be said here. */
export const ELSEWHERE = new Map([
  ...[
    'cert',
    'pfx',
    'passphrase',
    'ciphers',
    'secureProtocol',
    'minVersion',
    'maxVersion',
    'servername',
    'sigalgs',
  ].map(inSsl),
  ...['crl', 'ecdhCurve', 'secureContext', 'secureOptions', 'checkServerIdentity', 'ALPNProtocols', 'lookup'].map(
    inSsl,
  ),
  ...['family', 'localPort', 'maxHeaderSize', 'insecureHTTPParser'].map(inSsl),
  ['rejectUnauthorized', 'It is called `secure` here'],
  ['method', 'Middleware in front of the proxy can set `req.method`'],
  ['hostname', 'The address is `target`'],
  ['port', 'The address is `target`'],
  ['protocol', 'The address is `target`'],
  ['socketPath', 'Write `target: { socketPath: ... }`'],
]);

/** An option of the connection: httpxy makes its requests with the members of `ssl`. */
function inSsl(name: string): [name: string, where: string] {
  return [name, `Write \`ssl: { ${name}: ... }\``];
}

/** Options of http-proxy-middleware's earlier versions, and what they are called today. */
export const RENAMED = new Map([
  ['onProxyReq', 'on.proxyReq'],
  ['onProxyRes', 'on.proxyRes'],
  ['onProxyReqWs', 'on.proxyReqWs'],
  ['onError', 'on.error'],
  ['onOpen', 'on.open'],
  ['onClose', 'on.close'],
  ['logLevel', 'logger'],
  ['logProvider', 'logger'],
  ['context', 'pathFilter'],
]);
