import type { Provider } from '../types/provider.js';
import { aFunction, check } from '../util/checks.js';
import { withoutParameter } from '../util/request-target.js';
import { type TokenSource, tokenFrom } from './auth/bearer-token.js';
import { checkProviderOptions } from './auth/check-options.js';
import { speaking } from './dialects/by-path.js';
import { geminiDialect } from './dialects/gemini.js';

/** Options of {@link vertex}. */
export interface VertexOptions {
  /** The project that is asked, and billed, whichever a request names. */
  project: string;
  /** Such as `europe-west4`, or `global`. */
  location: string;
  /** A token of OAuth 2.0, sent as `Authorization: Bearer ...`. */
  token: TokenSource;
  /** Default: Vertex AI's own address at that location. */
  target?: string;
}

const aName = check('a name of letters, digits, "-", ":" and "."', (value) => {
  return typeof value === 'string' && /^[a-z\d][a-z\d.:-]*$/i.test(value);
});

/**
 * Google's Vertex AI: Gemini's API, Claude's (`:rawPredict`, `:streamRawPredict`), and what is OpenAI's below `/endpoints/openapi`. A request
 * may leave project and location out (`/v1/publishers/google/models/...`), and have the path of the Gemini API
 * (`/v1beta/models/...:generateContent`).
 *
 * @example
 * ```ts
 * import { GoogleAuth } from 'google-auth-library';
 *
 * const auth = new GoogleAuth({ scopes: 'https://www.googleapis.com/auth/cloud-platform' });
 * vertex({ project: 'my-project', location: 'global', token: async () => (await auth.getAccessToken()) ?? undefined });
 * ```
 *
 * @throws {TypeError} without `project`, `location` or `token`
 */
export function vertex(options: VertexOptions): Provider {
  checkProviderOptions('vertex', options, { project: aName, location: aName, token: aFunction });
  const { project, location, token, target } = options ?? {};
  for (const [name, value] of Object.entries({ project, location, token })) {
    if (value === undefined) throw new TypeError(`vertex() needs \`${name}\``);
  }
  const own = `projects/${project}/locations/${location}`;
  return {
    ...speaking(geminiDialect),
    ...tokenFrom(token),
    rewritePath: (path) => pathIn(own, withoutParameter(path, 'key')),
    name: 'gcp.vertex_ai',
    target: target ?? addressAt(location),
  };
}

/** The one of all locations, those of a continent, and those of a region. */
function addressAt(location: string): string {
  if (location === 'global') return 'https://aiplatform.googleapis.com';
  if (location === 'us' || location === 'eu') return `https://aiplatform.${location}.rep.googleapis.com`;
  return `https://${location}-aiplatform.googleapis.com`;
}

/** Whatever project and location a path names, it is these that are asked. */
function pathIn(own: string, path: string): string {
  return path
    .replace(/^\/v1beta\/models\//, '/v1/publishers/google/models/')
    .replace(/^\/(v1|v1beta1)\/(?:projects\/[^/?]+\/locations\/[^/?]+\/)?(publishers|endpoints)\//, `/$1/${own}/$2/`);
}
