import type { EventFormat } from './format.js';
import type { EventFields, Exchange, StreamEvent } from './hooks.js';
import type { ResponseHead } from './http.js';
import type { Usage } from './summary.js';

/**
 * One AI API: where it is, how to authenticate, and how to read its answers. Those of
 * `express-sse-proxy/providers` are made by `openai()`, `anthropic()` and so on; this is the contract for one of your own.
 */
export interface Provider {
  /** A name for logs and metrics; OpenTelemetry's `gen_ai.provider.name` where that knows it. */
  readonly name: string;
  /** The `target`, where the options give none. */
  readonly target: string;
  /**
   * The headers that authenticate a request. With this member, no credentials of the caller's travel upstream; without it they pass.
   * The request is not sent if it throws or rejects, or gives a value that HTTP forbids (`HOOK_FAILED`), or `undefined` or `null`
   * (`CREDENTIALS_MISSING`). A promise is waited for no longer than `timeouts.headers`.
   *
   * @example
   * ```ts
   * credentials: async () => ({ authorization: `Bearer ${await token()}` })
   * ```
   */
  credentials?(exchange: Exchange): Record<string, string> | Promise<Record<string, string>>;
  /**
   * Rewrites path and query, to add what the API needs or to remove what it must not see. It gets them as `pathRewrite` left them, and the
   * `path` of the exchange stays like that. Synchronous. A path that leaves the target's own path is refused. Default: with `credentials`
   * or `sign`, the `key` parameter is removed from the query, in which some APIs take credentials.
   */
  rewritePath?(path: string, exchange: Exchange): string;
  /**
   * Signs a request: gives the headers of the signature, which are set like those of `credentials`, and masked like them in the response.
   * With this member, no credentials of the caller's travel upstream. A promise is waited for no longer than `timeouts.headers`. If it
   * throws or rejects, or gives a value that HTTP forbids, nothing is sent (`HOOK_FAILED`).
   */
  sign?(request: RequestToSign): Record<string, string> | Promise<Record<string, string>>;
  /**
   * Headers that are withheld in addition to the general ones (docs/hide-the-key.md): names, in which `*` stands for anything. `request`:
   * those of the caller that the provider must not see. `response`: those of the provider that the caller must not see, such as the
   * account's. Default: none for requests; `*-organization`, `*-organization-id` and `*-project` for responses.
   */
  readonly withheld?: { readonly request?: readonly string[]; readonly response?: readonly string[] };
  /** Headers for requests that have none of that name. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Edits a JSON request body; `undefined` to send the bytes as they came. Synchronous; if it fails, nothing is sent. */
  editRequest?(body: string, exchange: Exchange): RequestEdit | undefined;
  /**
   * The format of a response's events: a built-in one, by its name, or one of your own; `undefined` to leave it to the media type. A
   * response with a format is an event stream. Synchronous; if it fails, the client gets a 502.
   */
  formatOf?(
    head: Readonly<ResponseHead>,
    exchange: Exchange,
  ): EventFormat | 'sse' | 'ndjson' | 'json-array' | undefined;
  /**
   * Whether the JSON response to this request is an array that is streamed element by element. Synchronous. The same as a `formatOf` that
   * gives `'json-array'`.
   */
  streamsArray?(exchange: Exchange): boolean;
  /** Methods that `retry` tries again, beside the idempotent ones of HTTP. */
  readonly retryMethods?: readonly string[];
  /**
   * The HTTP status that an error event stands for, 400 to 599; `undefined` (also `null` or `false`) for an event that is none. Used by
   * `commit`, and asked of every event of a stream that is read for `onUsage` or `onFinish`: have it look before it parses. Synchronous.
   * Anything else says that it is an error, and not which: it is logged, and taken for 502.
   */
  errorStatus?(event: StreamEvent, exchange: Exchange): number | undefined;
  /**
   * The JSON body of an error response that says the same as an error event: where `commit` answers instead of a stream that begins with
   * an error, the client reads a body and no event. Synchronous. Default, and for `undefined`: the `data` of the event, where that is JSON.
   */
  errorBodyOf?(event: StreamEvent, exchange: Exchange): unknown;
  /**
   * Reads usage, model and the like from an event of a stream, or from a whole JSON answer. What it throws is logged. Of JSON above
   * `limits.eventSize` long strings are shortened, and long arrays empty.
   */
  read(event: StreamEvent, reading: Reading, exchange: Exchange): void;
  /**
   * The event that tells a client in the middle of a stream of a failure; several, where its clients differ in what they heed.
   * Synchronous; if it fails, that is logged, and no event is sent.
   *
   * @param last the last event that the client was sent, for dialects that number their events
   */
  errorEvent(
    failure: ProviderFailure,
    exchange: Exchange,
    last?: StreamEvent | undefined,
  ): EventFields | readonly EventFields[];
  /**
   * `truncation`, where the options give none: `'destroy'` for an API whose clients hide what an error event says. Default: `'event'`.
   */
  readonly truncation?: 'event' | 'destroy';
  /**
   * The event that is sent while a stream is silent (`heartbeat`), for an API whose clients take a comment for a failure; `undefined` for a
   * comment. Synchronous. A `comment` that the options give goes before it. Default: a comment.
   */
  heartbeat?(exchange: Exchange): EventFields | undefined;
  /** The JSON body that tells a client of a failure. Synchronous; if it fails, that is logged, and the proxy's own body is sent. */
  errorBody(failure: ProviderFailure, exchange: Exchange): unknown;
}

/** A request that is about to be sent, for `sign`. */
export interface RequestToSign {
  method: string;
  /** Path and query as they are sent, behind the path of the target itself. */
  path: string;
  /**
   * The headers that are sent, by lower-case name, with the provider's `credentials` and `headers`. Not those of the connection, which
   * are not known yet: Host (that of the target), Connection, Content-Length, Content-Encoding, Transfer-Encoding, Accept-Encoding.
   */
  headers: Readonly<Record<string, string | string[]>>;
  /** All of the body, empty where there is none; `undefined` where it is too large to be held (10 MiB), or a stream of the user's. */
  body: Buffer | undefined;
  exchange: Exchange;
}

/** A change to a request body. */
export interface RequestEdit {
  /** The body to send. */
  body: string;
  /**
   * Whether an event of the answer is there only because of the change, and is to be kept from the client. Synchronous; where it
   * fails, that is logged, and the rest of the stream passes as it comes. Not asked of events above `limits.eventSize`, which pass.
   */
  isExtra?(event: StreamEvent): boolean;
}

/** What a client is told of a failure, in the provider's dialect. */
export interface ProviderFailure {
  /** Safe to show. */
  message: string;
  /** Stable; an `SseProxyErrorCode`. */
  code: string;
  /** The HTTP status that says the same. */
  statusCode: number;
}

/** What was read of one answer so far. A provider's `read` fills it in. */
export interface Reading {
  /** `false` for a JSON answer in one piece, which is read when all of it is there; `true` for a stream of events. */
  readonly streamed?: boolean;
  /** The figures so far. */
  usage: Omit<Usage, 'complete' | 'cost' | 'retrieved' | 'serviceTier'>;
  /** For `read` to remember what it needs, such as figures as the provider names them. */
  reported: Record<string, unknown>;
  /** The figures in `usage` are final, unless the answer breaks off before its end. */
  usageComplete: boolean;
  /** The provider's id of an answer that can be asked for again: its figures are counted once. */
  id?: string;
  /** The model that answers, as the provider names it. */
  model?: string;
  /** Why the answer ended, in the provider's word. */
  finishReason?: string;
  /** The tier of service that answers, in the provider's word. */
  serviceTier?: string;
  /** The first content of the answer was read (the first token). */
  hasContent: boolean;
  /** The answer has ended by the rules of its dialect; what follows does not belong to it. */
  ended: boolean;
}
