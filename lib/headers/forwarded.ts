import type { ClientRequest, IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';

/** Sets the `X-Forwarded-*` headers of an upstream request: the peer is appended, the others are added where absent. */
export function setForwarded(
  request: ClientRequest,
  { req, isForwarded }: { req: IncomingMessage; isForwarded: boolean },
): void {
  if (!isForwarded) return;
  const { headers, socket } = req;
  const encrypted = (socket as Partial<TLSSocket>).encrypted === true;
  const host = headers.host ?? '';
  const path = [headers['x-forwarded-for'], socket.remoteAddress].flat().filter(Boolean);
  request.setHeader('x-forwarded-for', path.join(', '));
  const added = {
    'x-forwarded-port': /:(\d+)$/.exec(host)?.[1] ?? (encrypted ? '443' : '80'),
    'x-forwarded-proto': encrypted ? 'https' : 'http',
    'x-forwarded-host': host,
  };
  for (const [name, value] of Object.entries(added)) {
    if (headers[name] === undefined) request.setHeader(name, value);
  }
}
