import { confine } from '../admission/path-guard.js';
import { secretsIn, secretsOfProvider } from '../credentials/own-credentials.js';
import { credentialsOf } from '../credentials/resolve-credentials.js';
import type { KnownSecrets } from '../credentials/secrets.js';
import { signedBy } from '../credentials/sign-request.js';
import { upstreamPath } from '../credentials/upstream-path.js';
import { viaEntry } from '../headers/via.js';
import { editRequest, mayEdit, readEditable, wholeBody } from '../request/provider-edit.js';
import type { RequestBody } from '../request/replayed-body.js';
import type { Config } from '../types/config.js';
import type { Exchange } from '../types/hooks.js';
import type { Provider } from '../types/provider.js';
import type { Attempt, PreparedRequest } from '../upstream/attempt.js';
import { then } from '../util/then.js';

type PreparedBody = Pick<PreparedRequest, 'body' | 'edit'>;

export interface PreparationContext {
  readonly config: Config;
  readonly secrets: KnownSecrets;
  /** Its `path` is the one to send, as `pathRewrite` left it. */
  readonly exchange: Exchange;
  readonly attempt: Attempt;
  /** Secrets that options put on the request. */
  readonly own: readonly string[];
  /** The request's body, as far as it was read. */
  readonly body: RequestBody;
  /** Told of the body where it had to be read: another attempt starts from it. */
  onRead(body: RequestBody): void;
}

/**
 * What one attempt is to send: the path, the headers of the policy, the credentials of its provider, and a body that was edited.
 *
 * @throws {SseProxyError} for what a hook throws, for a path that leads out of the target, and without credentials
 */
export function prepareRequest(context: PreparationContext): PreparedRequest | Promise<PreparedRequest> {
  const { config, secrets, exchange, attempt } = context;
  const set = config.requestHeaders.headersFor(exchange);
  const { provider } = attempt.route;
  const own = ownSecrets(context, set, provider);
  if (provider !== undefined) return prepareFor(provider, context, { set, own });
  attempt.protect(secrets.of(undefined, own));
  const { path } = exchange;
  return then(prepareBody(context), (body) => ({ path, set, ...body }));
}

/** Those that options put on a request, beside the credentials of its provider. */
function ownSecrets(
  { config, own }: PreparationContext,
  set: PreparedRequest['set'],
  provider: Provider | undefined,
): readonly string[] {
  const inPolicy = config.setsSecrets ? secretsIn(set) : [];
  const inProvider = secretsOfProvider(provider);
  return inPolicy.length + inProvider.length === 0 ? own : [...own, ...inPolicy, ...inProvider];
}

async function prepareFor(
  provider: Provider,
  context: PreparationContext,
  { set, own }: Pick<PreparedRequest, 'set'> & { own: readonly string[] },
): Promise<PreparedRequest> {
  const { secrets, exchange, attempt } = context;
  const credentials = await credentialsOf(provider, exchange, attempt);
  attempt.protect(secrets.of(credentials, own));
  try {
    const path = upstreamPath(provider, exchange, exchange.path);
    if (path !== exchange.path) confine(path);
    const body = await prepareBody(context);
    const prepared = { path, set, credentials, ...body };
    if (provider.sign === undefined) return prepared;
    const signed = await sign(provider, context, prepared);
    attempt.protect(secrets.of(signed.credentials, own));
    return signed;
  } catch (error) {
    attempt.secrets?.maskError(error);
    throw error;
  }
}

/** `undefined` for a body that is sent as it comes. */
function prepareBody(context: PreparationContext): Promise<PreparedBody> | undefined {
  const { route, body } = context.attempt;
  const isAsItComes = body.isOwn || (!mayEdit(route) && route.provider?.sign === undefined);
  return isAsItComes ? undefined : editBody(context);
}

async function editBody({ config, exchange, attempt, body, onRead }: PreparationContext): Promise<PreparedBody> {
  const { route } = attempt;
  const read = await readEditable(route, { req: exchange.req, body, maxSize: config.requestBody });
  onRead(read);
  return editRequest(route, exchange, read);
}

async function sign(
  provider: Provider,
  { config, exchange, attempt }: PreparationContext,
  prepared: PreparedRequest,
): Promise<PreparedRequest> {
  const { path, set, credentials } = prepared;
  const { req } = exchange;
  const signed = await signedBy(provider, {
    exchange,
    path,
    body: prepared.body === undefined ? undefined : wholeBody(req, prepared.body),
    policy: config.requestHeaders,
    credentials,
    set,
    via: viaEntry(config.via, req.httpVersion),
    waiter: attempt,
  });
  return { ...prepared, credentials: signed };
}
