import type { IncomingMessage } from 'node:http';
import { createProxyMiddleware, type Options } from 'http-proxy-middleware';
import { harmless, tryHook } from '../../util/hooks.js';

/** Whether a request, or a handshake, is the proxy's. */
export type PathFilter = (req: IncomingMessage) => boolean;

/** What http-proxy-middleware is asked about: it needs no more of a request than this. */
interface Question {
  readonly url: string | undefined;
  readonly socket: { readonly server: object };
  readonly req: IncomingMessage;
  isOurs: boolean;
}

/** For http-proxy-middleware, which asks nobody about an upgrade that came by no server. */
const ANY_SERVER = { server: {} };

/** What a second slash follows is an authority, which may be none. Any other path is below `/`. */
const MAY_BE_UNREADABLE = /^\/[/\\]/;

const NO_HEAD = Buffer.alloc(0);

/** The verdict of `pathFilter`, by http-proxy-middleware's own reading of it. */
export function createPathFilter(
  options: Pick<Options, 'pathFilter' | 'logger'>,
  logError: (message: string, ...values: unknown[]) => void,
): PathFilter {
  let ask: ((question: Question) => void) | undefined;
  return (req) => {
    if (options.pathFilter === undefined && req.url !== undefined && !MAY_BE_UNREADABLE.test(req.url)) return true;
    const question: Question = { url: req.url, socket: ANY_SERVER, req, isOurs: false };
    ask ??= createOracle(options, logError);
    ask(question);
    return question.isOurs;
  };
}

/**
 * An http-proxy-middleware that has nobody to send anything to. Of an upgrade it asks `router` in the same tick where the request is
 * the proxy's.
 */
function createOracle(
  { pathFilter, logger }: Pick<Options, 'pathFilter' | 'logger'>,
  logError: (message: string, ...values: unknown[]) => void,
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
      // No error, which would cost its stack: nobody looks at it.
      throw undefined;
    },
    ejectPlugins: true,
    plugins: [(httpxy) => void httpxy.on('error', () => {})],
  });
  return (question) => upgrade(question as unknown as IncomingMessage, question.req.socket, NO_HEAD);
}
