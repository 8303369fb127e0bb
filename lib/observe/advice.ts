import { MESSAGES, type SseProxyError, type SseProxyErrorCode } from '../errors.js';
import { causeCode } from '../util/cause-code.js';

const TRUST =
  'Have Node trust the authority of its certificate (NODE_EXTRA_CA_CERTS=/path/to/ca.pem, or `ssl: { ca }`); `secure: false` would trust anybody.';
const NAME = 'Look at the host of `target`, and whether its name can be resolved from here.';
const LISTENS = 'Look whether the upstream is running, and at the host and port of `target`.';
const NETWORK = 'Look at `target`, and at the network and the firewalls on the way to it.';
const FREE_PORTS = 'This machine has no address or port left for the connection.';

/** What to do about a failure, by the message that tells it apart from others of its code. */
const BY_MESSAGE: Readonly<Record<string, string>> = {
  [MESSAGES.noTls]: 'If it speaks plain HTTP, write `http://` in `target`, or name the port where it speaks TLS.',
  [MESSAGES.onlyTls]: 'Write `https://` in `target`.',
};

/** By the code of what made it. */
const BY_CAUSE: Readonly<Record<string, string>> = {
  ECONNREFUSED: LISTENS,
  ENOENT: LISTENS,
  ENOTFOUND: NAME,
  EAI_AGAIN: NAME,
  EHOSTUNREACH: NETWORK,
  ENETUNREACH: NETWORK,
  EADDRNOTAVAIL: FREE_PORTS,
  SELF_SIGNED_CERT_IN_CHAIN: TRUST,
  DEPTH_ZERO_SELF_SIGNED_CERT: TRUST,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: TRUST,
  UNABLE_TO_GET_ISSUER_CERT: TRUST,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: TRUST,
  CERT_HAS_EXPIRED: "The upstream's certificate has to be renewed; or look at the clock of this machine.",
  CERT_NOT_YET_VALID: 'Look at the clock of this machine.',
  ERR_TLS_CERT_ALTNAME_INVALID: 'Have `target` name the host that the certificate is for.',
  HPE_HEADER_OVERFLOW: "Raise Node's limit: node --max-http-header-size=65536 (bytes; 16384 if not set).",
};

/** By its own code. */
const BY_CODE: Partial<Record<SseProxyErrorCode, string>> = {
  UPSTREAM_UNREACHABLE: NETWORK,
  UPSTREAM_TLS_FAILED: 'Look which versions of TLS the upstream speaks, and at its certificate.',
  UPSTREAM_CLOSED: 'Look at its logs; and whether it speaks TLS, where `target` has `http:`, or the other way round.',
  UPSTREAM_INVALID_RESPONSE: 'Look whether `target` is an HTTP server, and has `https:` where it speaks TLS.',
  UPSTREAM_TRUNCATED: 'Look at its logs, and at load balancers on the way to it.',
  UPSTREAM_CONNECT_TIMEOUT: NETWORK,
  UPSTREAM_TIMEOUT: 'Where it needs longer, raise `timeouts.headers` or `timeouts.idle`.',
  TARGET_MISSING: 'Have `router` give a target for every request, or give a `target` to fall back on.',
  REQUEST_BODY_CONSUMED: 'Mount the proxy in front of what reads the body.',
  CREDENTIALS_MISSING: 'Look why the function that the provider was given, `apiKey` or `token`, gave none.',
  EVENTS_UNREADABLE: 'Have the upstream send `identity`: `transformEvent` cannot read its stream.',
  EVENT_TOO_LARGE: 'Raise `limits.eventSize` where such events are meant.',
};

/** What a developer can do about a failure, in a sentence. */
export function adviceFor(error: SseProxyError): string {
  const code = causeCode(error);
  const byCause = code === undefined || !Object.hasOwn(BY_CAUSE, code) ? undefined : BY_CAUSE[code];
  return BY_MESSAGE[error.message] ?? byCause ?? BY_CODE[error.code] ?? 'See docs/errors.md.';
}
