import type { ClientRequest } from 'node:http';
import { inspect } from 'node:util';
import type { FieldPolicy } from '../types/config.js';
import type { Provider } from '../types/types.js';
import { CALLER_CREDENTIALS, WITHHELD_FROM_PROVIDER } from './header-policy.js';

export interface RequestFields {
  policy: FieldPolicy;
  provider: Provider | undefined;
  /** By which the proxy authenticates; `undefined` where the caller's own pass. */
  credentials: Readonly<Record<string, string>> | undefined;
  /** What the policy puts in. */
  set: Readonly<Record<string, string>>;
  /** What the options' `headers` put in, by lower-case name. */
  own: readonly string[];
}

/** Makes a request upstream one of the proxy's own: takes away what is the caller's alone, and puts in what is ours. */
export function applyRequestFields(request: ClientRequest, fields: RequestFields): void {
  const { policy, provider, credentials, set, own } = fields;
  const { withCredentials, withoutCredentials } = WITHHELD_FROM_PROVIDER;
  const defaults = credentials === undefined ? withoutCredentials : withCredentials;
  const withholds = policy.withholder(provider && defaults);
  if (withholds !== undefined) {
    for (const name of request.getHeaderNames()) {
      if (!own.includes(name) && withholds(name)) request.removeHeader(name);
    }
  }
  for (const [name, value] of Object.entries(provider?.headers ?? {})) {
    if (!request.hasHeader(name)) request.setHeader(name, value);
  }
  for (const [name, value] of Object.entries({ ...credentials, ...set })) request.setHeader(name, value);
}

/**
 * Takes away what is for the target, credentials above all, and for nobody else: the request was redirected to another origin.
 * Of the caller's credentials httpxy itself takes away but two fields, and on the first step only.
 */
export function removeRequestFields(request: ClientRequest, { credentials, set, own }: RequestFields): void {
  for (const name of [...own, ...Object.keys({ ...credentials, ...set }), ...CALLER_CREDENTIALS, 'cookie']) {
    if (name !== 'host') request.removeHeader(name);
  }
}

/** Has what is printed of a request, also as a part of its response, a socket or a stream, say where it goes, and no field. */
export function concealFields(request: ClientRequest): void {
  const show = (): string => `ClientRequest { ${request.method} ${request.protocol}//${request.host}${request.path} }`;
  Object.defineProperty(request, inspect.custom, { value: show });
  Object.defineProperty(request, 'toJSON', { value: show });
}
