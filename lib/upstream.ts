import type { ClientRequest, IncomingMessage, ServerResponse } from 'node:http';
import { type Duplex, Readable, Stream } from 'node:stream';
import {
  createProxyMiddleware,
  loggerPlugin,
  type Options,
  type Plugin,
  proxyEventsPlugin,
  type RequestHandler,
} from 'http-proxy-middleware';
import { UpstreamAgent } from './agent.js';
import type { Attempt } from './attempt.js';
import { shareBody } from './body-readers.js';
import { askedPath, checkAllowed, checkTarget, confine } from './confinement.js';
import { SseProxyError } from './errors.js';
import { prepareRequestHeaders, prepareUpgradeHeaders, setForwarded } from './headers.js';
import { isPromiseLike, onRejection, runHook } from './hooks.js';
import type { Config } from './options.js';
import { hasBody, NO_BODY, ReplayedBody, takeWhole } from './request-body.js';
import { UpstreamResponse } from './upstream-response.js';

type ProxyServer = Parameters<Plugin>[0];

export interface Upstream {
  /** Starts an attempt; `false` where `pathFilter` says that the request is not the proxy's. */
  send(attempt: Attempt): boolean;
  upgrade: RequestHandler['upgrade'];
  /** Closes the pooled connections. */
  close(): void;
}

/** http-proxy-middleware, told to write into what we own and to hand the user's callbacks what they expect. */
export function createUpstream(config: Config): Upstream {
  const { hpm } = config;
  const pool = new UpstreamAgent();
  /** Handshakes that tell of the client (`xfwd`). */
  const forwarded = new WeakSet<IncomingMessage>();
  const { plugins = [], ejectPlugins = false, router, pathFilter, pathRewrite, logger } = hpm;
  const rewritePath = typeof pathRewrite === 'function' ? pathRewrite : pathRewriter(pathRewrite ?? {});
  // Hooks that are handed the options find in them what was given.
  const isHandedOut = typeof router === 'function' || typeof pathRewrite === 'function';
  const target = isHandedOut ? hpm.target : parsedTarget(hpm.target);
  const headers = isHandedOut ? hpm.headers : hpm.headers && fieldsFor(hpm.headers);
  let server: ProxyServer | undefined;

  const middleware = createProxyMiddleware({
    changeOrigin: true,
    agent: pool,
    ...hpm,
    ...(target !== undefined && { target }),
    ...(headers !== undefined && { headers }),
    // The middleware sees to it. http-proxy-middleware does so only when its first request has ended: a stream may be long.
    ws: false,
    // Its error response is not wanted, and it writes into streams; what the others are good for is below.
    ejectPlugins: true,
    plugins: [
      (httpxy) => {
        server = httpxy;
        intercept(httpxy, forwarded, config);
      },
      ...(ejectPlugins ? [] : [proxyEventsPlugin as Plugin]),
      ...(ejectPlugins || logger === undefined ? [] : [loggerPlugin as Plugin]),
      ...plugins.map(
        (plugin): Plugin =>
          (httpxy) =>
            plugin(httpxy, hpm as Options),
      ),
    ],
    ...(typeof pathFilter === 'function' && {
      pathFilter: (pathname: string, req: IncomingMessage) => {
        const result: unknown = pathFilter(pathname, req);
        // Not meant to be async, and truthy then; its failure must not end the process.
        if (isPromiseLike(result)) void onRejection(result, (cause) => config.logError('pathFilter failed: %o', cause));
        return Boolean(result);
      },
    }),
    ...(typeof router === 'function' && {
      router: async (req: IncomingMessage, res: ServerResponse | undefined, options: Options) => {
        const attempt = attemptOf(res);
        if (attempt !== undefined) share(req, attempt, config);
        const routed = hook(() => router(req, realResponse(res), withOwnHeaders(options)));
        return then(routed, (result) => {
          // Of no path http-proxy-middleware would ask nobody, and httpxy make this.
          req.url ||= '/';
          return result;
        });
      },
    }),
    // Runs for every request, after `router`, with the options of this one request.
    pathRewrite: (path, req, res, options) => {
      const attempt = attemptOf(res);
      // Thrown here it has the socket with it, to be closed.
      if (attempt === undefined || options === undefined) return pathOfUpgrade(path, req, options);
      const { target: ownTarget, headers: ownHeaders } = attempt.route;
      // httpxy makes a URL of a string.
      if (ownTarget !== undefined) options.target = ownTarget;
      if (ownHeaders !== undefined) options.headers = ownHeaders;
      prepareRequestHeaders(attempt.req);
      // The types know functions that are async and such that are not, but none that is either.
      return pathOf(attempt, path, options) as Promise<string>;
    },
  });

  /** The path to ask for, when the exchange has been let in. */
  function pathOf(attempt: Attempt, path: string, options: Options): string | Promise<string> {
    const { req, res } = attempt;
    const { pathRewrite: own } = attempt.route;
    checkTarget(path);
    // Middleware may have set an encoding when it had handed the request on.
    if (req.readableEncoding || typeof (own ?? pathRewrite) === 'function') share(req, attempt, config);
    const rewritten = hook(() =>
      own === undefined ? rewritePath(path, req, res, withOwnHeaders(options)) : own(path, req),
    );
    return then(rewritten, (result) => {
      if (options.buffer) {
        attempt.body = 'stream';
        attempt.ownBody = { stream: options.buffer as Readable, isShared: options.buffer === hpm.buffer };
      }
      // A hook may have written it there instead.
      return then(attempt.prepare(typeof result === 'string' ? result : (req.url ?? path)), (prepared) => {
        prepare(attempt, options);
        return prepared;
      });
    });
  }

  /** What an exchange sees to for other requests. */
  async function pathOfUpgrade(path: string, req: IncomingMessage, options: Options | undefined): Promise<string> {
    if (!options?.target) throw new SseProxyError('TARGET_MISSING');
    prepareUpgradeHeaders(req);
    const asked = askedPath(path);
    checkTarget(asked);
    checkAllowed(config.allow, req.method, asked);
    req.url = asked;
    const rewritten = await hook(() => rewritePath(asked, req, undefined, withOwnHeaders(options)));
    const result = typeof rewritten === 'string' ? rewritten : req.url;
    confine(result);
    prepareOptions(options);
    if (takeForwarded(options)) forwarded.add(req);
    return result;
  }

  /** Hooks may change what is in it for their request: it must not be there for the next one. */
  function withOwnHeaders(options: Options): Options {
    if (isHandedOut && headers !== undefined && options.headers === headers) options.headers = { ...headers };
    return options;
  }

  function prepareOptions(options: Options): void {
    // httpxy makes the options of its request of this very object, and would find them there with the next one.
    if (options.ssl) options.ssl = { ...options.ssl };
    if (options.headers && options.headers !== headers) options.headers = fieldsFor(options.headers);
  }

  /** By the options of this one request, of which `router` and `pathRewrite` may have changed any. */
  function prepare(attempt: Attempt, options: Options): void {
    if (options.target !== undefined) options.target = withoutUserInfo(options.target);
    // httpxy makes a URL of a string, and names it in its errors.
    if (typeof options.forward === 'string') options.forward = new URL(options.forward);
    attempt.mirror = options.forward;
    prepareOptions(options);
    // The exchange sees to it. httpxy adds a listener to the client's connection with each of its requests.
    attempt.limitSilence(options.timeout ?? 0);
    options.timeout = 0;
    attempt.isForwarded = takeForwarded(options);
    options.agent = options.agent === undefined ? pool : options.agent;
    // A user's agent may be the only way out.
    if (attempt.freshConnection && options.agent === pool) options.agent = false;
    if (!options.buffer) prepareBody(attempt, options);
  }

  /** What httpxy is to send. It pipes the body of the request itself, where nothing else is said. */
  function prepareBody(attempt: Attempt, options: Options): void {
    const { req } = attempt;
    // A hook may read the request as it flows upstream.
    if (attempt.body === 'stream' && server?.listenerCount('proxyReq') === 0) {
      attempt.body = takeWhole(req, attempt.keptBytes) ?? 'stream';
    }
    const { body } = attempt;
    const requests = options.forward && options.target ? 2 : 1;
    if (body instanceof ReplayedBody) {
      body.describeIn(req);
      options.buffer = body.toSource(requests) as unknown as Readable;
    } else if (!hasBody(req)) {
      options.buffer = NO_BODY as unknown as Readable;
      // A request that was not read to its end fails when its client leaves.
      req.resume();
    } else if (requests > 1 || (body === 'stream' && (attempt.keptBytes || options.followRedirects))) {
      // httpxy lets go of a body when an answer comes early, and with `followRedirects` listens to it for good: what is to be sent
      // once more must not be the request itself.
      options.buffer = attempt.holdBody();
    }
  }

  function realResponse(res: ServerResponse | undefined): ServerResponse | undefined {
    return attemptOf(res)?.res ?? res;
  }

  return {
    send(attempt) {
      let isOurs = true;
      // Settles when the response closes; failures come as events, or through this `next`.
      void middleware(attempt.req, attempt.response as unknown as ServerResponse, (error) => {
        if (error === undefined) isOurs = false;
        else attempt.onRejected(error);
      });
      return isOurs;
    },
    upgrade: config.provider === undefined ? middleware.upgrade : refuseUpgrade,
    close: () => pool.destroy(),
  };
}

/** http-proxy-middleware and httpxy would each parse it with each request. */
function parsedTarget(target: Options['target']): Options['target'] {
  return typeof target === 'string' && URL.canParse(target) ? new URL(target) : target;
}

/** httpxy does not send it, but has it in what it tells of its targets and of its errors, where a logger finds it. */
function withoutUserInfo(target: NonNullable<Options['target']>): NonNullable<Options['target']> {
  const withoutIt = (url: string): string => url.replace(/^([a-z]+:\/\/)[^/?#]*@/i, '$1');
  if (target instanceof URL) return target.username + target.password === '' ? target : new URL(withoutIt(target.href));
  return typeof target === 'string' ? withoutIt(target) : target;
}

/** Whether `xfwd` is on: ours appends the peer, httpxy's lets the client hide it. */
function takeForwarded(options: Options): boolean {
  const isForwarded = Boolean(options.xfwd);
  options.xfwd = false;
  return isForwarded;
}

/**
 * `headers` as httpxy is to have them: it forgets credentials at a redirect to another host only where their names are in lower
 * case, and tells nobody of a request with `Expect`.
 */
function fieldsFor(headers: NonNullable<Options['headers']>): NonNullable<Options['headers']> {
  const { expect, ...fields } = Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
  return fields;
}

/** A provider's credentials are put on requests only: a WebSocket would have to go with those of the caller. */
const refuseUpgrade: RequestHandler['upgrade'] = (_req, socket) => {
  socket.end('HTTP/1.1 501 Not Implemented\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
};

/** A table of `pathRewrite`, as http-proxy-middleware reads it: the first pattern that matches. */
function pathRewriter(table: Record<string, string>): (path: string, ...rest: unknown[]) => string {
  const rules = Object.entries(table).map(([pattern, replacement]) => ({ pattern: new RegExp(pattern), replacement }));
  return (path) => {
    const rule = rules.find(({ pattern }) => pattern.test(path));
    return rule === undefined ? path : path.replace(rule.pattern, rule.replacement);
  };
}

/** Runs a user callback; what it throws or rejects with is `HOOK_FAILED`. */
function hook<T>(callback: () => T | Promise<T>): T | Promise<T> {
  const failed = (cause: unknown): never => {
    throw new SseProxyError('HOOK_FAILED', { cause });
  };
  try {
    const result = callback();
    return isPromiseLike(result) ? Promise.resolve(result).catch(failed) : result;
  } catch (cause) {
    return failed(cause);
  }
}

/** Goes on with a value: at once, where it is there. Of a promise each step costs a turn of the queue. */
function then<T, U>(value: T | Promise<T>, next: (value: T) => U | Promise<U>): U | Promise<U> {
  return isPromiseLike(value) ? Promise.resolve(value).then(next) : next(value);
}

/**
 * Replaces the `emit` of httpxy's server: every listener, of `on` as well as of plugins, is handed Express's own response,
 * and one that throws or rejects ends its exchange instead of the process.
 */
function intercept(server: ProxyServer, forwarded: WeakSet<IncomingMessage>, config: Config): void {
  // With a listener there, httpxy reports failures at once, by this event.
  server.on('error', () => {});

  /** Hooks that have got hold of a request, or of its response, may read it in their own encoding. */
  const isShared = (): boolean =>
    server.listenerCount('start') + server.listenerCount('proxyReq') + server.listenerCount('proxyRes') > 0;

  const emit = (event: string, ...args: unknown[]): boolean => {
    const attempt = attemptOf(args[RESPONSE_OF[event] ?? -1]);
    if (attempt === undefined) emitUpgradeEvent(event, args);
    else emitAttemptEvent(attempt, event, args);
    return true;
  };
  server.emit = emit as typeof server.emit;

  function emitAttemptEvent(attempt: Attempt, event: string, args: unknown[]): void {
    if (event === 'error') {
      if (args[3] !== undefined && args[3] === attempt.mirror) return;
      attempt.fail(args[0], async () => void (await callListeners(event, withRealResponse(attempt, args))));
      return;
    }
    if (event === 'start') {
      attempt.onStart(args[2]);
      if (isShared()) share(attempt.req, attempt, config);
    }
    if (event === 'proxyReq') attempt.onRequest(args[0] as ClientRequest, config, args[3] as Options);
    if (event === 'proxyRes') {
      attempt.onResponse(args[0] as IncomingMessage);
      if (isShared() && !attempt.response.isHandedOver) share(args[0] as IncomingMessage, attempt, config);
    }
    if (event === 'econnreset') attempt.fail(args[0]);
    if (server.listenerCount(event as 'error') > 0) {
      void callListeners(event, withRealResponse(attempt, args), (cause) => {
        attempt.fail(new SseProxyError('HOOK_FAILED', { cause }));
      });
    }
    if (event !== 'proxyReq') return;
    const request = args[0] as ClientRequest;
    attempt.requireBody(request);
    // Nobody waits for it any more; or `fixRequestBody`, or a listener like it, has written the body already.
    if (attempt.isOver || request.headersSent) (args[3] as Options).buffer = Readable.from([]);
    else attempt.flushHead(request);
  }

  function emitUpgradeEvent(event: string, args: unknown[]): void {
    if (event === 'proxyReqWs') {
      const [request, req, socket] = args as [ClientRequest, IncomingMessage, Duplex];
      if (forwarded.has(req)) setForwarded(request, req);
      // Refused: what the client has sent behind its handshake is for nobody. Unread, it would hide that the client leaves.
      request.once('response', () => void socket.resume());
    }
    void callListeners(event, args, () => {
      for (const arg of args) if (arg instanceof Stream) (arg as Partial<Duplex>).destroy?.();
    });
    // Nobody else answers a handshake that failed.
    if (event === 'error' && config.hpm.on?.error === undefined) (args[2] as Duplex | undefined)?.destroy();
  }

  /** Resolves when the last listener has settled; nothing to wait for where none is async. */
  function callListeners(
    event: string,
    args: unknown[],
    onFailure?: (cause: unknown) => void,
  ): Promise<unknown> | undefined {
    const failed = (cause: unknown): void => {
      // Which masks what it says.
      onFailure?.(cause);
      config.logError('a listener of "%s" failed: %o', event, cause);
    };
    const pending: Promise<void>[] = [];
    for (const listener of server.rawListeners(event as 'error')) {
      const settled = runHook(() => Reflect.apply(listener, server, args), failed);
      if (settled !== undefined) pending.push(settled);
    }
    return pending.length === 0 ? undefined : Promise.all(pending);
  }
}

/** A hook gets hold of this message. What its listeners throw ends the exchange instead of the process. */
function share(message: IncomingMessage, attempt: Attempt, config: Config): void {
  shareBody(message, (cause) => {
    // Which masks what it says.
    attempt.fail(new SseProxyError('HOOK_FAILED', { cause }));
    config.logError('a listener of a body failed: %o', cause);
  });
}

function withRealResponse({ response, res }: Attempt, args: readonly unknown[]): unknown[] {
  return args.map((arg) => (arg === response ? res : arg));
}

/** Where the events of a request have its response, among their arguments. */
const RESPONSE_OF: Readonly<Record<string, number>> = {
  start: 1,
  proxyReq: 2,
  proxyRes: 2,
  end: 1,
  error: 2,
  econnreset: 2,
};

/** By what http-proxy-middleware was given as the response. */
function attemptOf(response: unknown): Attempt | undefined {
  return response instanceof UpstreamResponse ? (response.attempt as Attempt | undefined) : undefined;
}
