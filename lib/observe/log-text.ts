import type { IncomingMessage } from 'node:http';
import { originForm } from '../util/request-target.js';

/** The path that the client asked for, without its query, which may hold credentials. */
export function pathOf(req: IncomingMessage): string {
  const { originalUrl = req.url } = req as { originalUrl?: string };
  return withoutQuery(originForm(originalUrl ?? '/'));
}

export function withoutQuery(path: string): string {
  return path.replace(/[?#].*/s, '');
}

/**
 * Formats text as one word of a log line: spaces, and whatever would break the line or the terminal that shows it, are escaped as in
 * JSON.
 */
export function word(text: string): string {
  return escapeIn(JSON.stringify(text).slice(1, -1), /[\p{C}\s]/gu);
}

/** Replaces each of these characters by its UTF-16 code units, escaped as in JSON. */
export function escapeIn(text: string, characters: RegExp): string {
  return text.replace(characters, (found) =>
    Array.from({ length: found.length }, (_, i) => `\\u${found.charCodeAt(i).toString(16).padStart(4, '0')}`).join(''),
  );
}
