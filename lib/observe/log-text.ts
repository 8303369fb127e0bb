import type { IncomingMessage } from 'node:http';
import { originForm } from '../util/request-target.js';

/** The path that the client asked for, without its query. */
export function pathOf(req: IncomingMessage): string {
  const { originalUrl = req.url } = req as { originalUrl?: string };
  return withoutQuery(originForm(originalUrl ?? '/'));
}

export function withoutQuery(path: string): string {
  return path.replace(/[?#].*/s, '');
}

/**
 * As one word of a line: what would break the line, or the terminal that shows it, is escaped as in JSON, and so is the space
 * between words.
 */
export function word(text: string): string {
  return escapeIn(JSON.stringify(text).slice(1, -1), /[\p{C}\s]/gu);
}

/** In the place of each character its UTF-16 code units, as JSON escapes them. */
export function escapeIn(text: string, characters: RegExp): string {
  return text.replace(characters, (found) =>
    Array.from({ length: found.length }, (_, i) => `\\u${found.charCodeAt(i).toString(16).padStart(4, '0')}`).join(''),
  );
}
