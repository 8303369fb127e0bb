import type { ClientRequest, IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { inspect } from 'node:util';
import { closeBehind, isKeptAlive } from '../fast-path/node-internals.js';
import type { HeaderRules } from '../types/config.js';
import type { Provider } from '../types/provider.js';
import { setForwarded } from './forwarded.js';
import { reframe } from './framing.js';
import { CALLER_CREDENTIALS, withheldFromProvider } from './header-policy.js';
import { HOP_BY_HOP, nominatedBy, removeNominatedBy } from './hop-by-hop.js';
import { isHttp2, translateFromHttp2 } from './http2-translation.js';
import { appendVia } from './via.js';
import { isHandshakeHeader } from './websocket.js';

/*
 * Every change that the proxy makes to the headers of a request, in two stages: to the client's request, before
 * http-proxy-middleware makes one of its own from it, and to that upstream request, before its head is written.
 */

// --- the client's request -------------------------------------------------------------------------------------------

type ReceivedPass = (req: IncomingMessage) => void;

/** Every change to the headers of the client's request, in this order. */
const receivedPasses: readonly ReceivedPass[] = [translateOrReframe, removeNominated, removeHopByHop];

/** The same for a WebSocket's handshake (RFC 9110 7.8, RFC 6455 4.1). */
const receivedUpgradePasses: readonly ReceivedPass[] = [
  removeNominatedButHandshake,
  removeHopByHop,
  removeFraming,
  offerWebSocket,
];

/**
 * Removes from the client's request what must not travel upstream. `Transfer-Encoding` stays, since Node frames the upstream request
 * by it. Must be called after the tick in which the request came: by then it is known whether it has a body.
 */
export function prepareRequestHeaders(req: IncomingMessage): void {
  for (const pass of receivedPasses) pass(req);
}

/** The same for a WebSocket's handshake. */
export function prepareUpgradeHeaders(req: IncomingMessage): void {
  for (const pass of receivedUpgradePasses) pass(req);
}

/** Only HTTP/1 says in headers how a body is framed. */
function translateOrReframe(req: IncomingMessage): void {
  if (isHttp2(req)) translateFromHttp2(req);
  else reframe(req);
}

/** RFC 9110 7.6.1: the headers that the client's Connection names. */
function removeNominated(req: IncomingMessage): void {
  removeNominatedBy(nominatedBy(req.headers.connection), req);
}

/** The same, but for the headers of the handshake, which the upstream needs. */
function removeNominatedButHandshake(req: IncomingMessage): void {
  const nominated = [...nominatedBy(req.headers.connection)].filter((name) => !isHandshakeHeader(name));
  removeNominatedBy(new Set(nominated), req);
}

/** RFC 9110 7.6.1. `Expect` goes, too: Node has already answered it with 100 (Continue). */
function removeHopByHop(req: IncomingMessage): void {
  const { headers } = req;
  // A copy without them: V8 makes an object slow for all its readers when properties are deleted from it.
  const kept: IncomingHttpHeaders = {};
  for (const name of Object.keys(headers)) {
    if (!HOP_BY_HOP.has(name) && name !== 'expect') kept[name] = headers[name];
  }
  req.headers = kept;
}

/** Whatever follows a handshake belongs to the new protocol, and is no body for the upstream to wait for. */
function removeFraming({ headers }: IncomingMessage): void {
  delete headers['content-length'];
  delete headers['transfer-encoding'];
}

function offerWebSocket({ headers }: IncomingMessage): void {
  headers.connection = 'Upgrade';
  headers.upgrade = 'websocket';
}

// --- the upstream request -------------------------------------------------------------------------------------------

/** What the passes over an upstream request are told. */
export interface UpstreamRequestContext {
  /** The client's request. */
  req: IncomingMessage;
  policy: HeaderRules;
  provider: Provider | undefined;
  /** The credentials of the proxy; `undefined` where the caller's own pass. */
  credentials: Readonly<Record<string, string>> | undefined;
  /** The request has secrets, in whatever headers, which are to reach no log. */
  hasSecrets?: boolean;
  /** The headers that the policy sets. */
  set: Readonly<Record<string, string>>;
  /** The names, in lower case, of the headers that the option `headers` has set. */
  own: readonly string[];
  /** A redirect has led to another origin than the target's. */
  hasLeftOrigin: boolean;
  /** The response is read on its way, or is meant to arrive event by event: a content coding would be in it. */
  wantsIdentity: boolean;
  /** The entry for `Via`; absent where none is added. */
  via?: string | undefined;
  /** The request tells of the client (`xfwd`). */
  isForwarded: boolean;
}

/** What the passes over a WebSocket's handshake are told. A provider's credentials are never put on one. */
export type UpstreamUpgradeContext = Pick<
  UpstreamRequestContext,
  'req' | 'policy' | 'hasSecrets' | 'set' | 'own' | 'via' | 'isForwarded'
>;

type UpstreamPass = (request: ClientRequest, context: UpstreamRequestContext) => void;

/** Every change to the headers of an upstream request, in this order. What is set later wins. */
const requestPasses: readonly UpstreamPass[] = [
  withholdFromUpstream,
  addProviderHeaders,
  addVia,
  setCredentials,
  setPolicyHeaders,
  removeAtOtherOrigin,
  concealHeaders,
  setConnection,
  askForIdentity,
  setForwarded,
];

/** The same for a WebSocket's handshake. */
const upgradePasses: readonly UpstreamPass[] = [
  withholdFromUpstream,
  addVia,
  setPolicyHeaders,
  concealHeaders,
  setForwarded,
];

/** Applies all passes to an upstream request whose head is not written yet. */
export function applyRequestPasses(request: ClientRequest, context: UpstreamRequestContext): void {
  for (const pass of requestPasses) pass(request, context);
}

/** The same for a WebSocket's handshake. */
export function applyUpgradePasses(request: ClientRequest, upgrade: UpstreamUpgradeContext): void {
  const context = {
    ...upgrade,
    provider: undefined,
    credentials: undefined,
    hasLeftOrigin: false,
    wantsIdentity: false,
  };
  for (const pass of upgradePasses) pass(request, context);
}

/** Removes what is not meant for the provider, and what the policy removes. What the option `headers` has set stays. */
function withholdFromUpstream(
  request: ClientRequest,
  { policy, provider, credentials, own }: UpstreamRequestContext,
): void {
  const withholds = policy.withholder(withheldFromProvider(provider, credentials !== undefined));
  if (withholds === undefined) return;
  for (const name of request.getHeaderNames()) {
    if (!own.includes(name) && withholds(name)) request.removeHeader(name);
  }
}

function addProviderHeaders(request: ClientRequest, { provider }: UpstreamRequestContext): void {
  if (provider?.headers === undefined) return;
  for (const [name, value] of Object.entries(provider.headers)) {
    if (!request.hasHeader(name)) request.setHeader(name, value);
  }
}

function addVia(request: ClientRequest, { via }: UpstreamRequestContext): void {
  if (via !== undefined) request.setHeader('via', appendVia(request.getHeader('via'), via));
}

function setCredentials(request: ClientRequest, { credentials }: UpstreamRequestContext): void {
  if (credentials !== undefined) setAll(request, credentials);
}

function setPolicyHeaders(request: ClientRequest, { set }: UpstreamRequestContext): void {
  setAll(request, set);
}

function setAll(request: ClientRequest, headers: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(headers)) request.setHeader(name, value);
}

/**
 * Behind a redirect to another origin: removes what is meant for the target only, credentials above all. httpxy itself removes but two
 * of the headers in which callers send their keys, and at the first redirect only.
 */
function removeAtOtherOrigin(request: ClientRequest, context: UpstreamRequestContext): void {
  if (!context.hasLeftOrigin) return;
  const { credentials, set, own } = context;
  for (const name of [...own, ...Object.keys({ ...credentials, ...set }), ...CALLER_CREDENTIALS, 'cookie']) {
    if (name !== 'host') request.removeHeader(name);
  }
}

/**
 * Hides the headers of a request with credentials from `util.inspect` and JSON, so that no credential reaches a log: a request is
 * printed as a part of its response, a socket or a stream, too.
 */
function concealHeaders(request: ClientRequest, { credentials, hasSecrets }: UpstreamRequestContext): void {
  if (credentials === undefined && hasSecrets !== true) return;
  const show = (): string => `ClientRequest { ${request.method} ${request.protocol}//${request.host}${request.path} }`;
  Object.defineProperty(request, inspect.custom, { value: show });
  Object.defineProperty(request, 'toJSON', { value: show });
}

/** Node's agent decides whether the connection is kept; httpxy has put a `Connection: close` on a chunked request. */
function setConnection(request: ClientRequest): void {
  // RFC 9112 9.6: nothing may be sent on a connection behind a request with `Connection: close`.
  if (request.hasHeader('transfer-encoding')) closeBehind(request);
  else request.setHeader('connection', isKeptAlive(request) ? 'keep-alive' : 'close');
}

/** Asks for a body without a content coding where it is read on its way, or is to arrive event by event. */
function askForIdentity(request: ClientRequest, { wantsIdentity }: UpstreamRequestContext): void {
  if (wantsIdentity) request.setHeader('accept-encoding', 'identity');
}
