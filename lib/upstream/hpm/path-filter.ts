import type { IncomingMessage } from 'node:http';
import { createProxyMiddleware, type Options } from 'http-proxy-middleware';
import { harmless, type LogError, tryHook } from '../../util/hooks.js';

/** Whether a request, or a handshake, is the proxy's. */
export type PathFilter = (req: IncomingMessage) => boolean;

/** The members of a request that http-proxy-middleware needs to apply `pathFilter`. */
interface Question {
  readonly url: string | undefined;
  readonly socket: { readonly server: object };
  readonly req: IncomingMessage;
  isOurs: boolean;
}

/** http-proxy-middleware ignores an upgrade whose connection has no server. */
const ANY_SERVER = { server: {} };

/** After two slashes a URL has an authority, which may be invalid. All other paths can be parsed. */
const MAY_BE_UNREADABLE = /^\/[/\\]/;

const NO_HEAD = Buffer.alloc(0);

/** Applies `pathFilter` as http-proxy-middleware does. */
export function createPathFilter(options: Pick<Options, 'pathFilter' | 'logger'>, logError: LogError): PathFilter {
  let ask: ((question: Question) => void) | undefined;
  /** A plugin may replace it. */
  let asked: Options['pathFilter'];
  return (req) => {
    if (options.pathFilter === undefined && req.url !== undefined && !MAY_BE_UNREADABLE.test(req.url)) return true;
    const question: Question = { url: req.url, socket: ANY_SERVER, req, isOurs: false };
    if (ask === undefined || asked !== options.pathFilter) {
      asked = options.pathFilter;
      ask = createOracle(options, logError);
    }
    ask(question);
    return question.isOurs;
  };
}

/**
 * An http-proxy-middleware without a target, which only applies `pathFilter`: for an upgrade that passes the filter it calls
 * `router`, in the same tick.
 */
function createOracle(
  { pathFilter, logger }: Pick<Options, 'pathFilter' | 'logger'>,
  logError: LogError,
): (question: Question) => void {
  const { upgrade } = createProxyMiddleware({
    ...(pathFilter !== undefined && {
      pathFilter:
        typeof pathFilter !== 'function'
          ? pathFilter
          : (pathname: string, asked: IncomingMessage) => {
              const { req } = asked as unknown as Question;
              return tryHook('pathFilter', () => pathFilter(pathname, req), Boolean, logError) ?? false;
            },
    }),
    ...(logger !== undefined && { logger: harmless(logger) }),
    router(asked: IncomingMessage) {
      (asked as unknown as Question).isOurs = true;
      // Nothing that has a stack, since nobody looks at it.
      throw undefined;
    },
    ejectPlugins: true,
    plugins: [(httpxy) => void httpxy.on('error', () => {})],
  });
  return (question) => upgrade(question as unknown as IncomingMessage, question.req.socket, NO_HEAD);
}
