// @ts-check
// A subject that runs on Node, in a process of its own: `node subjects/node.js <name> <target>`.
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { serve } from '../process.js';
import { SERVERS } from './servers.js';

const [name = '', target = ''] = process.argv.slice(2);
const server = await SERVERS[name]?.(new URL(target));
if (server === undefined) throw new Error(`There is no subject ${name}`);
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
await once(server, 'listening');

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc');

serve({
  port: () => /** @type {import('node:net').AddressInfo} */ (server.address()).port,
  /** Bytes in use. */
  async held() {
    collectGarbage();
    // Buffers are set free in the background.
    await delay(200);
    collectGarbage();
    const { heapUsed, external } = process.memoryUsage();
    return heapUsed + external;
  },
});
