import type { Exchange } from '../../types/hooks.js';
import type { Provider } from '../../types/provider.js';
import { pathOf } from '../../util/request-target.js';
import { ACCOUNT_HEADERS } from '../auth/account-headers.js';
import { anthropicDialect } from './anthropic.js';
import { cohereDialect } from './cohere.js';
import type { Dialect } from './dialect.js';
import { geminiDialect } from './gemini.js';
import { interactionsDialect } from './interactions.js';
import { ollamaDialect } from './ollama.js';
import { openaiDialect } from './openai.js';

/**
 * The dialects that are known by the end of a path. Most hosts speak several: Google's, Anthropic's and Ollama's have endpoints that are
 * OpenAI's, and many gateways have some that are Anthropic's.
 */
const DIALECTS: readonly (readonly [path: RegExp, dialect: Dialect])[] = [
  [/\/(?:completions|responses|embeddings)$|\/responses\/[^/]+$/, openaiDialect],
  [/\/v1\/messages$|:(?:streamR|r)awPredict$/, anthropicDialect],
  [/:(?:streamG|g)enerateContent$/, geminiDialect],
  [/\/interactions(?:\/[^/]+)?$/, interactionsDialect],
  [/\/v2\/(?:chat|embed|rerank)$/, cohereDialect],
  [/\/api\/(?:chat|generate|embed|embeddings)$/, ollamaDialect],
];

/**
 * What a provider says and understands: the dialect that the path of a request is known to have, and its own everywhere else, also where
 * that is a variant of the one that is known.
 */
export function speaking(own: Dialect): Omit<Provider, 'name' | 'target'> {
  let latestPath: string | undefined;
  let latest = own;
  /** Asked for each event, and nearly all are of one path: looking at it would be most of the cost of reading an event. */
  const of = ({ path }: Exchange): Dialect => {
    if (path === latestPath) return latest;
    const known = dialectOf(path) ?? own;
    latestPath = path;
    latest = known === own.variantOf ? own : known;
    return latest;
  };
  return {
    read: (event, reading, exchange) => of(exchange).read(event, reading, exchange),
    errorEvent: (failure, exchange, last) => of(exchange).errorEvent(failure, exchange, last),
    errorBody: (failure, exchange) => of(exchange).errorBody(failure, exchange),
    errorBodyOf: (event, exchange) => of(exchange).errorBodyOf?.(event, exchange),
    errorStatus: (event, exchange) => of(exchange).errorStatus(event, exchange),
    formatOf: (head, exchange) => of(exchange).formatOf?.(head, exchange),
    heartbeat: (exchange) => of(exchange).heartbeat?.(exchange),
    retryMethods: ['POST'],
    withheld: { response: ACCOUNT_HEADERS },
  };
}

function dialectOf(path: string): Dialect | undefined {
  const name = pathOf(path).replace(/\/$/, '');
  return DIALECTS.find(([pattern]) => pattern.test(name))?.[1];
}
