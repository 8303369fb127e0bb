import { describe, expect, it } from '@jest/globals';
import { accessLog, type Usage } from '../../../lib/index.js';
import { openai } from '../../../lib/providers/index.js';
import { readAll, request } from '../../support/clients/http.js';
import { post, SERVERS_KEY } from '../../support/servers/provider.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { upstream } from '../../support/servers/upstreams.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { Queue, turns } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const RESPONSES = '/v1/responses';
const STORED = '/v1/responses/resp_1';
const reported = { input_tokens: 9, output_tokens: 3, total_tokens: 12 };
const response = (status: string, usage: object | null): object => ({
  id: 'resp_1',
  object: 'response',
  status,
  usage,
});
const queued = response('queued', null);
const running = response('in_progress', null);
const completed = response('completed', reported);
const figures = { inputTokens: 9, outputTokens: 3, totalTokens: 12, reported, complete: true };
const retrieved = { ...figures, retrieved: true };
const none = { complete: false };
const completion = { id: 'chatcmpl-1', object: 'chat.completion', choices: [], usage: reported };
const batch = (status: string, usage: object | null): object => ({ id: 'batch_1', object: 'batch', status, usage });

const INTERACTIONS = '/v1beta/interactions';
const interactionUsage = { total_input_tokens: 9, total_output_tokens: 3, total_tokens: 12 };
const interaction = (status: string, usage?: object): object => ({ id: 'v1_a', object: 'interaction', status, usage });

type Asked = [method: 'GET' | 'POST', path: string, answer: object | string];

/** What is told of these answers, in order, and the lines of the access log. */
async function told(exchanges: readonly Asked[]): Promise<{ usages: Usage[]; lines: string[] }> {
  const answers = exchanges.map(([, , answer]) => answer);
  const { url } = await upstream((_req, res) => {
    const answer = answers.shift();
    const isStream = typeof answer === 'string';
    res.setHeader('content-type', isStream ? 'text/event-stream' : 'application/json');
    res.end(isStream ? answer : JSON.stringify(answer));
  });
  const queue = new Queue<Usage>();
  const lines: string[] = [];
  const log = accessLog({ write: (line) => lines.push(line) });
  const provider = openai({ target: url, apiKey: SERVERS_KEY });
  const proxy = await proxyApp({ provider, onUsage: (usage) => queue.push(usage), onFinish: log });
  const usages: Usage[] = [];
  for (const [method, path] of exchanges) {
    await readAll(await (method === 'POST' ? post(proxy.url + path, '{}') : request(proxy.url + path)));
    usages.push(await queue.next());
  }
  await turns();
  return { usages, lines };
}

const event = (type: string, answer: object): string =>
  `event: ${type}\ndata: ${JSON.stringify({ type, response: answer })}\n\n`;
const whole = event('response.completed', completed);
const cut = event('response.created', running);

describe('usage of stored answers: each exchange is told of, and each answer is counted once', () => {
  it.each<[string, Asked[], object[]]>([
    [
      'a response that is asked for again',
      [
        ['POST', RESPONSES, completed],
        ['GET', STORED, completed],
        ['GET', STORED, completed],
      ],
      [figures, retrieved, retrieved],
    ],
    [
      'a response in the background, at the poll that first shows it finished',
      [
        ['POST', RESPONSES, queued],
        ['GET', STORED, running],
        ['GET', STORED, completed],
        ['GET', STORED, completed],
      ],
      [none, none, figures, retrieved],
    ],
    [
      'a response in the background that this proxy has not seen begin',
      [
        ['GET', STORED, running],
        ['GET', STORED, completed],
      ],
      [none, retrieved],
    ],
    [
      'a response in the background that is streamed',
      [
        ['POST', RESPONSES, whole],
        ['GET', STORED, completed],
      ],
      [figures, retrieved],
    ],
    [
      'a stream that is gone on with by another request',
      [
        ['POST', RESPONSES, cut],
        ['GET', `${STORED}?stream=true`, whole],
      ],
      [none, figures],
    ],
    [
      'a response that is cancelled',
      [
        ['POST', RESPONSES, queued],
        ['POST', `${STORED}/cancel`, completed],
        ['GET', STORED, completed],
      ],
      [none, figures, retrieved],
    ],
    [
      'a response in the background that fails',
      [
        ['POST', RESPONSES, queued],
        ['GET', STORED, response('failed', reported)],
        ['GET', STORED, response('failed', reported)],
      ],
      [none, figures, retrieved],
    ],
    [
      'an interaction in the background that fails',
      [
        ['POST', INTERACTIONS, interaction('in_progress')],
        ['GET', `${INTERACTIONS}/v1_a`, interaction('failed', interactionUsage)],
        ['GET', `${INTERACTIONS}/v1_a`, interaction('failed', interactionUsage)],
      ],
      [none, { ...figures, reported: interactionUsage }, { ...retrieved, reported: interactionUsage }],
    ],
    [
      'a stored completion',
      [
        ['POST', '/v1/chat/completions', completion],
        ['GET', '/v1/chat/completions/chatcmpl-1', completion],
      ],
      [figures, retrieved],
    ],
    [
      'a batch',
      [
        ['POST', '/v1/batches', batch('validating', null)],
        ['GET', '/v1/batches/batch_1', batch('completed', reported)],
      ],
      [none, figures],
    ],
    ['what is no answer', [['GET', '/v1/models', { object: 'list', data: [] }]], [none]],
  ])('usage of stored answers: %s', async (_what, exchanges, expected) => {
    expect((await told(exchanges)).usages).toEqual(expected);
  });

  it('usage of stored answers: the access log marks what is retrieved', async () => {
    const { lines } = await told([
      ['POST', RESPONSES, completed],
      ['GET', STORED, completed],
    ]);
    expect(lines[0]).toContain(' 9+3 tokens ');
    expect(lines[0]).not.toContain('retrieved');
    expect(lines[1]).toContain(' 9+3 tokens (retrieved) ');
  });
});
