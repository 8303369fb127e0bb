import type { Agent, IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import type { Options } from 'http-proxy-middleware';
import { checkTarget } from '../../admission/path-guard.js';
import { secretsIn } from '../../credentials/own-credentials.js';
import { SseProxyError } from '../../errors.js';
import { noBody } from '../../fast-path/body-in-memory.js';
import { hasBody } from '../../headers/framing.js';
import { prepareUpgradeHeaders } from '../../headers/request-passes.js';
import { ReplayedBody } from '../../request/replayed-body.js';
import { awaitHook } from '../../util/hooks.js';
import { then } from '../../util/then.js';
import type { Attempt } from '../attempt.js';
import type { ConnectionPool } from '../connection-pool.js';
import { share } from './attempt-of.js';
import { pathRewriter } from './path-rewrite.js';
import { hasHost, headersFor, namesHost, takeForwarded, withoutUserInfo } from './request-options.js';
import type { Handshake } from './upgrade-socket.js';

/** What all requests of a proxy share. */
export interface RequestContext {
  /** The options of http-proxy-middleware, which plugins may change. */
  readonly hpm: Readonly<Options>;
  readonly pool: ConnectionPool;
  /** `headers` of the options, as httpxy is given them. */
  readonly headers: Options['headers'];
  /** What of these headers, and of `auth`, is to be masked: that of all requests whose options no hook has changed. */
  readonly secrets: readonly string[];
  /** Hooks are handed the options of each request. */
  readonly isHandedOut: boolean;
  /** A listener of the user's may read a request as it flows upstream. */
  isRead(): boolean;
}

type RewritePath = (path: string, req: IncomingMessage, res?: ServerResponse, options?: Options) => unknown;

/** Completes the options and the path of each request, after `router`. */
export class RequestPreparer {
  readonly #context: RequestContext;
  /** Made of this `pathRewrite`, which a plugin may replace. */
  #rewrite: { from: Options['pathRewrite']; path: RewritePath } | undefined;

  constructor(context: RequestContext) {
    this.#context = context;
  }

  get #rewritePath(): RewritePath {
    const { pathRewrite } = this.#context.hpm;
    if (typeof pathRewrite === 'function') return pathRewrite as RewritePath;
    if (this.#rewrite === undefined || this.#rewrite.from !== pathRewrite) {
      this.#rewrite = { from: pathRewrite, path: pathRewriter(pathRewrite ?? {}) };
    }
    return this.#rewrite.path;
  }

  /** The path of a request. */
  pathOf(attempt: Attempt, path: string, options: Options): string | Promise<string> {
    const { req, res } = attempt;
    const { hpm } = this.#context;
    const { pathRewrite: own } = attempt.route;
    checkTarget(path);
    // Middleware may have called `setEncoding` after it called `next`.
    if (req.readableEncoding || typeof (own ?? hpm.pathRewrite) === 'function') share(req, attempt);
    const rewrite = () =>
      own === undefined ? this.#rewritePath(path, req, res, this.withOwnHeaders(options)) : own(path, req);
    const rewritten = awaitHook('pathRewrite', rewrite, attempt);
    return then(rewritten, (result) => {
      if (options.buffer) {
        attempt.takeOwnBody({ stream: options.buffer as Readable, isShared: options.buffer === hpm.buffer });
      }
      // A hook may have set `req.url` instead of returning a path.
      const sentPath = typeof result === 'string' ? result : (req.url ?? path);
      return then(attempt.prepare(sentPath, this.#secretsIn(options)), (prepared) => {
        this.#prepare(attempt, options);
        return prepared;
      });
    });
  }

  /** The path of a handshake. */
  async pathOfUpgrade(path: string, handshake: Handshake, options: Options): Promise<string> {
    const { req } = handshake;
    if (!options.target) throw new SseProxyError('TARGET_MISSING');
    options.target = withoutUserInfo(options.target);
    // As in http-proxy-middleware, each WebSocket has a connection of its own, never a pooled one.
    if (options.agent === (this.#context.pool as unknown)) options.agent = false;
    prepareUpgradeHeaders(req);
    const rewrite = () => this.#rewritePath(path, req, undefined, this.withOwnHeaders(options));
    const rewritten = await awaitHook('pathRewrite', rewrite);
    // A hook may have set `req.url` instead of returning a path.
    const result = typeof rewritten === 'string' ? rewritten : (req.url ?? path);
    this.#prepareOptions(options);
    handshake.prepare(result, options, this.#secretsIn(options));
    return result;
  }

  /** A copy of `headers` for hooks, which may change them for this request but not for the next one. */
  withOwnHeaders(options: Options): Options {
    const { isHandedOut, headers } = this.#context;
    if (isHandedOut && headers !== undefined && options.headers === headers) options.headers = { ...headers };
    return options;
  }

  /** The secrets that the options of this request put on it; those of the proxy's own options are known. */
  #secretsIn({ headers, auth }: Options): readonly string[] {
    const { hpm, headers: common, secrets } = this.#context;
    return headers === common && auth === hpm.auth ? secrets : secretsIn(headers, auth);
  }

  #prepareOptions(options: Options): void {
    const { hpm, headers } = this.#context;
    // Our default never overrules a Host that the user has named, and a target without a host has none to give.
    if (hpm.changeOrigin === undefined && (namesHost(options.headers) || !hasHost(options.target))) {
      options.changeOrigin = false;
    }
    // httpxy makes the options of its request of this very object, and would find them there with the next one.
    if (options.ssl) options.ssl = { ...options.ssl };
    if (options.headers && options.headers !== headers) options.headers = headersFor(options.headers);
  }

  /** Completes the options of this request, any of which `router` and `pathRewrite` may have changed. */
  #prepare(attempt: Attempt, options: Options): void {
    const { pool } = this.#context;
    if (options.target !== undefined) options.target = withoutUserInfo(options.target);
    // httpxy would make a URL of a string and name that in its error events, where `isMirror` would not recognize it.
    if (typeof options.forward === 'string') options.forward = new URL(options.forward);
    this.#prepareOptions(options);
    const { forward: mirror, timeout: silence = 0 } = options;
    attempt.configure({ mirror, silence, isForwarded: takeForwarded(options) });
    // The exchange limits the silence: httpxy would add a listener to the client's connection with every request.
    options.timeout = 0;
    options.agent = options.agent === undefined ? pool : options.agent;
    // A user's agent may be the only way out.
    if (attempt.freshConnection && options.agent === pool) options.agent = false;
    if (!options.buffer) this.#prepareBody(attempt, options);
    if (options.agent === (pool as unknown) && !attempt.body.canBeSentAgain) {
      options.agent = pool.fresh as unknown as Agent;
    }
  }

  /** Chooses what httpxy sends: without a `buffer` it pipes the request itself. */
  #prepareBody(attempt: Attempt, options: Options): void {
    const { req } = attempt;
    if (!this.#context.isRead()) attempt.body.takeWhole();
    const { content, keptBytes } = attempt.body;
    const requests = options.forward && options.target ? 2 : 1;
    if (content instanceof ReplayedBody) {
      content.describeIn(req);
      options.buffer = content.toSource(requests) as unknown as Readable;
    } else if (!hasBody(req)) {
      options.buffer = noBody() as unknown as Readable;
      // A request that was not read to its end fails when its client leaves.
      req.resume();
    } else if (requests > 1 || (content === 'stream' && (keptBytes || options.followRedirects))) {
      // httpxy lets go of a body when an answer comes early, and with `followRedirects` listens to it for good: what is to be sent
      // once more must not be the request itself.
      options.buffer = attempt.body.hold();
    }
  }
}
