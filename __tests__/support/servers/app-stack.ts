import compression from 'compression';
import cors from 'cors';
import express, { type Express } from 'express';
import session from 'express-session';
import helmet from 'helmet';
import morgan from 'morgan';

/**
 * Mounts what apps usually have in front: some of it wraps the response, and all of it has a say in its head.
 *
 * @param log gets one line per request
 */
export function appStack(log: string[] = []): (app: Express) => void {
  return (app) => {
    app.use(
      morgan(':method :url :status', { stream: { write: (line) => void log.push(line.trimEnd()) } }),
      helmet(),
      cors({ origin: 'https://app.example', credentials: true }),
      compression({ threshold: 0 }),
      session({ secret: 'of the tests', resave: false, saveUninitialized: true }),
      express.json(),
    );
  };
}
