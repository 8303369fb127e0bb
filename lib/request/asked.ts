import { LONGEST_MODEL } from '../defaults.js';
import { pathOf } from '../util/request-target.js';
import { memberTexts } from './json-members.js';

/** What a request asks for, as far as it says so. */
export interface Asked {
  /** The model, as the request names it. */
  model?: string;
  /** Whether the answer is to be streamed. */
  stream?: boolean;
}

const MEMBERS: ReadonlySet<string> = new Set(['model', 'stream']);

/** Some APIs have the model, or the deployment, in the path: Google's, Azure's and Amazon's. */
const IN_PATH = /\/(?:models?|deployments)\/([^/:?]+)(?::((?:stream)?[a-z]+)|\/([a-z-]+))?/i;

/** What a path says: of a model and its method. */
function askedByPath(path: string): Asked {
  const [, model, method = '', operation = ''] = IN_PATH.exec(pathOf(path)) ?? [];
  if (model === undefined || model.length > LONGEST_MODEL) return {};
  const isStream = /^stream/i.test(method) || /-stream$/.test(operation);
  const saysHow = /^(?:stream)?(?:generateContent|rawPredict)$/i.test(method) || /^(?:converse|invoke)/.test(operation);
  return { model: decoded(model), ...(saysHow && { stream: isStream }) };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/**
 * What a request asks for: its body says so, or else its path.
 *
 * @param body the beginning of a JSON body, or all of it; `undefined` for any other
 */
export function askedOf(path: string, body: string | undefined): Asked {
  const asked = askedByPath(path);
  if (body === undefined) return asked;
  const found = memberTexts(body, MEMBERS);
  const model = nameIn(found.get('model'));
  const stream = found.get('stream');
  return {
    ...asked,
    ...(model !== undefined && { model }),
    ...((stream === 'true' || stream === 'false') && { stream: stream === 'true' }),
  };
}

/** The name in a JSON string. What is longer than any name of a model is none: it would go into every log. */
function nameIn(text: string | undefined): string | undefined {
  if (!text?.startsWith('"') || text.length > LONGEST_MODEL) return undefined;
  try {
    return JSON.parse(text) as string;
  } catch {
    return undefined;
  }
}
