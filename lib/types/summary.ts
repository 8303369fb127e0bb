import type { Outcome, SseProxyError, SseProxyErrorCode } from '../errors.js';

/** The tokens of one exchange, as the provider has reported them. What it did not report is absent. */
export interface Usage {
  /** Tokens of the prompt, those from a cache included. */
  inputTokens?: number;
  /** Tokens of the answer, those of reasoning included. */
  outputTokens?: number;
  /** As reported, or else the sum of both where both were reported. */
  totalTokens?: number;
  /** Those of `inputTokens` that were read from a cache. */
  cachedInputTokens?: number;
  /** Those of `inputTokens` that were written to a cache. */
  cacheCreationInputTokens?: number;
  /** Those of `outputTokens` that were spent on reasoning. */
  reasoningTokens?: number;
  /** Those of `inputTokens` that stand for sound. */
  audioInputTokens?: number;
  /** Those of `outputTokens` that stand for sound. */
  audioOutputTokens?: number;
  /** Those of `inputTokens` that stand for images. */
  imageInputTokens?: number;
  /** Those of `outputTokens` that stand for images. */
  imageOutputTokens?: number;
  /** The tier of service that has answered, in the provider's word: it may have prices of its own. */
  serviceTier?: string;
  /** What `cost` has made of the figures, in whatever currency that counts. */
  cost?: number;
  /** The provider's own object, as it came; nobody can change it. */
  reported?: Readonly<Record<string, unknown>>;
  /**
   * `true` for the figures of an answer that another request has caused, such as those of a stored response: whoever adds up what
   * requests have cost leaves them out. Absent otherwise (docs/count-the-tokens.md).
   */
  retrieved?: true;
  /** Whether these are the provider's final figures: `false` where the answer broke off, or where it reported none. */
  complete: boolean;
}

/** The result of one upstream request. */
export interface AttemptSummary {
  /** The origin of its target, without credentials or path. */
  target: string;
  /** The `name` of the provider that was asked; absent without one. */
  provider?: string;
  /** The model that was asked for, by the request's body or its path; absent without a provider, and where nobody reads the account. */
  requestModel?: string;
  /** Whether a stream was asked for; absent where the request does not say. */
  stream?: boolean;
  /** The upstream's status; absent where no response came. */
  statusCode?: number;
  /** Why it failed; absent where its response was used. */
  error?: SseProxyErrorCode;
  /** Milliseconds until the head arrived, or the request failed. */
  duration?: number;
}

/** The account of one exchange. */
export interface StreamSummary {
  /** How the exchange ended. */
  outcome: Outcome;
  /** The status that the client was sent; absent where it disconnected before. */
  statusCode?: number;
  /** The requests that were sent upstream, in order. */
  attempts: readonly AttemptSummary[];
  /** The origin of the last attempt's target; absent where none was tried. */
  target?: string;
  /**
   * The `name` of the last attempt's provider, which is the one that answered where one did; absent without a `provider`, and where none
   * was tried.
   */
  provider?: string;
  /** Bytes of the body written to the client, before any compression in front of the proxy; those of a response of the proxy's own do not count. */
  bytes: number;
  /** Events of the upstream's response; absent where no option had them read. */
  events?: number;
  /** What the provider reported; absent without a `provider`. */
  usage?: Usage;
  /** What the exchange has cost, by `cost`; the same as `usage.cost`. */
  cost?: number;
  /** The model that the last attempt has asked for. */
  requestModel?: string;
  /** Whether the last attempt has asked for a stream. */
  stream?: boolean;
  /** The model that answered, as the provider names it. */
  model?: string;
  /** Why the answer ended, in the provider's word. */
  finishReason?: string;
  /** Milliseconds since the request came in; absent where that point was not reached. */
  timings: {
    /** The upstream's head arrived. */
    headers?: number;
    /** The first byte of the body arrived. */
    firstByte?: number;
    /** The first content of the answer was read (the first token); needs a `provider`. */
    firstToken?: number;
    /** The exchange ended. */
    total: number;
  };
  /** Why, where the outcome is not `completed` or `client-closed`. */
  error?: SseProxyError;
}
