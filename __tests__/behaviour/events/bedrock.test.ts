import { once } from 'node:events';
import {
  BedrockRuntimeClient,
  ConverseCommand,
  ConverseStreamCommand,
  type ConverseStreamOutput,
  InvokeModelCommand,
  InvokeModelWithResponseStreamCommand,
} from '@aws-sdk/client-bedrock-runtime';
import { describe, expect, it } from '@jest/globals';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import { AwsV4Signer } from 'aws4fetch';
import OpenAI from 'openai';
import type { SseProxyOptions, Usage } from '../../../lib/index.js';
import { type BedrockOptions, bedrock } from '../../../lib/providers/index.js';
import { readAll, readUntilCut, request } from '../../support/clients/http.js';
import { proxyApp } from '../../support/servers/proxies.js';
import { manualUpstream, recorder } from '../../support/servers/upstreams.js';
import {
  BEDROCK_TYPE,
  CONVERSE_FIGURES,
  claudeStream,
  claudeWhole,
  converseFailing,
  converseStream,
  converseUsage,
  converseWhole,
  exception,
  framesOf,
} from '../../support/streams/bedrock.js';
import { bytesOf, openaiChat, TEXT } from '../../support/streams/dialects.js';
import { onCleanUp } from '../../support/watch/clean-up.js';
import { closeAndWatchEachTest } from '../../support/watch/process.js';
import { Queue } from '../../support/watch/wait.js';

closeAndWatchEachTest();

const KEY = 'bedrock-api-key-of-the-server';
const MODEL = 'us.anthropic.claude-haiku-4-5-20251001-v1:0';
const region = 'us-east-1';
const conversation = { modelId: MODEL, messages: [{ role: 'user' as const, content: [{ text: 'Hello' }] }] };
const awsCredentials = {
  accessKeyId: 'AKIDEXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
  sessionToken: 'token-of-the-server',
};

/** AWS's SDK at an address, with a key of its own, and without another try. */
function sdkAt(url: string): BedrockRuntimeClient {
  const client = new BedrockRuntimeClient({
    region,
    endpoint: url,
    token: { token: 'key-of-the-caller' },
    authSchemePreference: ['httpBearerAuth'],
    // Over HTTP/2, its default, it could not speak to Express.
    requestHandler: new NodeHttpHandler(),
    maxAttempts: 1,
  });
  onCleanUp(() => client.destroy());
  return client;
}

/** The proxy in front of a Bedrock that the test answers. */
async function proxied(options: SseProxyOptions = {}, own: Partial<BedrockOptions> = { apiKey: KEY }) {
  const { url, requests } = await manualUpstream();
  const usages = new Queue<Usage>();
  const provider = bedrock({ region, target: url, ...own });
  const proxy = await proxyApp({ provider, onUsage: (usage) => usages.push(usage), ...options });
  return { proxy, requests, usages };
}

type Upstream = Awaited<ReturnType<typeof proxied>>;

/** The next request, whose answer in frames has begun. */
async function streaming({ requests }: Upstream) {
  const { req, res, closed } = await requests.next();
  res.writeHead(200, { 'content-type': BEDROCK_TYPE, 'x-amzn-requestid': 'r-1' }).flushHeaders();
  return { req, res, closed };
}

async function* textOf(stream: AsyncIterable<ConverseStreamOutput> | undefined): AsyncGenerator<string> {
  for await (const { contentBlockDelta } of stream ?? []) {
    const text = contentBlockDelta?.delta?.text;
    if (text !== undefined) yield text;
  }
}

describe("bedrock() and AWS's SDK", () => {
  it('Bedrock: ConverseStream comes event by event, with the key of the server, and its usage is what the SDK says', async () => {
    const under = await proxied();
    const sent = sdkAt(under.proxy.url).send(new ConverseStreamCommand(conversation));
    const { req, res } = await streaming(under);
    expect(req.url).toBe(`/model/${encodeURIComponent(MODEL)}/converse-stream`);
    expect(req.headers.authorization).toBe(`Bearer ${KEY}`);
    const [start, first, ...rest] = converseStream.frames;
    res.write(framesOf([start, first].filter((frame) => frame !== undefined)));
    const { stream } = await sent;
    const said: ConverseStreamOutput[] = [];
    for await (const event of stream ?? []) {
      said.push(event);
      // The rest is sent when the first text has arrived.
      if (event.contentBlockDelta?.delta?.text === TEXT[0]) res.end(framesOf(rest));
    }
    expect(said.map(({ contentBlockDelta }) => contentBlockDelta?.delta?.text ?? '').join('')).toBe(TEXT.join(''));
    const { usage } = said.at(-1)?.metadata ?? {};
    expect(usage).toMatchObject(converseUsage);
    expect(await under.usages.next()).toEqual({ ...CONVERSE_FIGURES, reported: converseUsage, complete: true });
    expect(await under.proxy.summary()).toMatchObject({
      outcome: 'completed',
      provider: 'aws.bedrock',
      finishReason: 'end_turn',
      events: converseStream.frames.length,
      timings: { firstToken: expect.any(Number) },
    });
  });

  it('Bedrock: Converse in one piece is read, and its usage is what the SDK says', async () => {
    const under = await proxied();
    const sent = sdkAt(under.proxy.url).send(new ConverseCommand(conversation));
    const { res } = await under.requests.next();
    res.writeHead(200, { 'content-type': 'application/json' }).end(bytesOf(converseWhole.parts));
    const { usage, stopReason } = await sent;
    expect({ usage, stopReason }).toMatchObject({ usage: converseUsage, stopReason: 'end_turn' });
    expect(await under.usages.next()).toMatchObject({ ...CONVERSE_FIGURES, complete: true });
  });

  it('Bedrock: InvokeModelWithResponseStream passes in frames, and is read as the vendor has it', async () => {
    const under = await proxied();
    const command = new InvokeModelWithResponseStreamCommand({ modelId: MODEL, body: '{"messages":[]}' });
    const sent = sdkAt(under.proxy.url).send(command);
    const { res } = await streaming(under);
    res.end(framesOf(claudeStream.frames));
    const events: { type?: string; delta?: { text?: string } }[] = [];
    for await (const { chunk } of (await sent).body ?? [])
      events.push(JSON.parse(Buffer.from(chunk?.bytes ?? []).toString()));
    expect(events.map(({ delta }) => delta?.text ?? '').join('')).toBe(TEXT.join(''));
    const { totalTokens } = CONVERSE_FIGURES;
    expect(await under.usages.next()).toMatchObject({ ...CONVERSE_FIGURES, totalTokens, complete: true });
    expect(await under.proxy.summary()).toMatchObject({ model: 'claude-haiku-4-5-20251001', finishReason: 'end_turn' });
  });

  it('Bedrock: InvokeModel is read as the vendor has it', async () => {
    const under = await proxied();
    const sent = sdkAt(under.proxy.url).send(new InvokeModelCommand({ modelId: MODEL, body: '{}' }));
    const { res } = await under.requests.next();
    res.writeHead(200, { 'content-type': 'application/json' }).end(bytesOf(claudeWhole.parts));
    expect(JSON.parse(Buffer.from((await sent).body).toString())).toMatchObject({ stop_reason: 'end_turn' });
    expect(await under.usages.next()).toMatchObject({ ...CONVERSE_FIGURES, complete: true });
  });

  it('Bedrock: a client that aborts ends the upstream’s work, and what it cost is not known', async () => {
    const under = await proxied();
    const controller = new AbortController();
    const sent = sdkAt(under.proxy.url).send(new ConverseStreamCommand(conversation), {
      abortSignal: controller.signal,
    });
    const { res, closed } = await streaming(under);
    res.write(framesOf(converseStream.frames.slice(0, 2)));
    const texts = textOf((await sent).stream);
    expect((await texts.next()).value).toBe(TEXT[0]);
    controller.abort();
    await texts.next().catch(() => {});
    await closed;
    expect(await under.proxy.summary()).toMatchObject({ outcome: 'client-closed', usage: { complete: false } });
  });

  it('Bedrock: an exception on its way reaches the SDK, and the figures are not complete', async () => {
    const under = await proxied();
    const sent = sdkAt(under.proxy.url).send(new ConverseStreamCommand(conversation));
    const { res } = await streaming(under);
    res.end(framesOf(converseFailing.frames));
    const texts = textOf((await sent).stream);
    expect((await texts.next()).value).toBe(TEXT[0]);
    await expect(texts.next()).rejects.toMatchObject({ name: 'ModelStreamErrorException' });
    expect(await under.usages.next()).toEqual({ complete: false });
    expect(await under.proxy.summary()).toMatchObject({
      outcome: 'upstream-error',
      error: { code: 'UPSTREAM_ERROR_EVENT', statusCode: 500, cause: { code: 'modelStreamErrorException' } },
    });
  });

  it.each<[string, boolean]>([
    ['within a frame', true],
    ['between two frames', false],
  ])('Bedrock: a stream that breaks off %s is only cut, and told as truncated', async (_where, isWithin) => {
    const under = await proxied();
    const coming = request(`${under.proxy.url}/model/m/converse-stream`, { method: 'POST', body: '{}' });
    const { res } = await streaming(under);
    const whole = framesOf(converseStream.frames.slice(0, 3));
    const sent = isWithin ? whole.subarray(0, -5) : whole;
    const reading = readUntilCut(await coming);
    await new Promise((resolve) => res.write(sent, resolve));
    res.destroy();
    expect(await reading).toEqual({ body: sent, cut: true });
    expect(await under.proxy.summary()).toMatchObject({ error: { code: 'UPSTREAM_TRUNCATED' } });
    expect(await under.usages.next()).toEqual({ complete: false });
  });

  it('Bedrock: a stream that breaks off is an error to the SDK', async () => {
    const under = await proxied();
    const sent = sdkAt(under.proxy.url).send(new ConverseStreamCommand(conversation));
    const { res } = await streaming(under);
    res.write(framesOf(converseStream.frames.slice(0, 2)));
    const texts = textOf((await sent).stream);
    expect((await texts.next()).value).toBe(TEXT[0]);
    res.destroy();
    await expect(texts.next()).rejects.toThrow();
  });

  it('Bedrock: an exception in front of the answer becomes a status that the SDK knows, with `commit`', async () => {
    const under = await proxied({ commit: 'first-event' });
    const sent = sdkAt(under.proxy.url).send(new ConverseStreamCommand(conversation));
    const { res } = await streaming(under);
    res.end(framesOf([exception('throttlingException', { message: 'Slow down.' })]));
    await expect(sent).rejects.toMatchObject({
      name: 'ThrottlingException',
      message: 'Slow down.',
      $metadata: { httpStatusCode: 429 },
    });
  });

  it('Bedrock: a failure of the proxy is an exception of the SDK, with its message', async () => {
    const { url } = await manualUpstream();
    const provider = bedrock({ region, apiKey: KEY, target: url });
    const proxy = await proxyApp({ provider, allow: ['POST /model/:id/converse'] });
    const refused = sdkAt(proxy.url).send(new ConverseStreamCommand(conversation));
    await expect(refused).rejects.toMatchObject({
      name: 'ResourceNotFoundException',
      message: expect.stringMatching(/./),
    });
  });

  it('Bedrock: bytes that are no frames pass as they came, and are told', async () => {
    const logged: unknown[] = [];
    const under = await proxied({ logger: { info() {}, warn() {}, error: (...words) => void logged.push(...words) } });
    const coming = request(`${under.proxy.url}/model/m/converse-stream`, { method: 'POST', body: '{}' });
    const { res } = await streaming(under);
    const whole = Buffer.from(framesOf(converseStream.frames));
    whole[20] = (whole[20] as number) ^ 1;
    res.end(whole);
    expect(await readAll(await coming)).toEqual(whole);
    expect(await under.usages.next()).toEqual({ complete: false });
    expect(logged.join('\n')).toContain('the rest of a response is not observed');
  });

  it('Bedrock: nothing is put into its streams, and a transformEvent is refused', async () => {
    const under = await proxied({ heartbeat: { interval: 1 } });
    const coming = request(`${under.proxy.url}/model/m/converse-stream`, { method: 'POST', body: '{}' });
    const { res } = await streaming(under);
    const response = await coming;
    const [first] = converseStream.frames;
    const arrived = once(response, 'data');
    res.write(first?.bytes);
    expect((await arrived)[0]).toEqual(first?.bytes);
    const rest = readAll(response);
    res.end();
    expect(await rest).toEqual(Buffer.alloc(0));
    const editing = await proxied({ transformEvent: () => undefined });
    const refused = request(`${editing.proxy.url}/model/m/converse-stream`, { method: 'POST', body: '{}' });
    (await streaming(editing)).res.end(framesOf(converseStream.frames));
    expect((await refused).statusCode).toBe(502);
    (await refused).resume();
    expect(await editing.proxy.summary()).toMatchObject({ error: { code: 'EVENTS_UNREADABLE' } });
  });
});

describe('bedrock() at the endpoints that are OpenAI’s', () => {
  it('Bedrock: a chat completion below /openai/v1 is streamed and read', async () => {
    const under = await proxied();
    const client = new OpenAI({ apiKey: 'any', baseURL: `${under.proxy.url}/openai/v1`, maxRetries: 0 });
    const sent = client.chat.completions.create({
      model: 'openai.gpt-oss-20b-1:0',
      stream: true,
      messages: [{ role: 'user', content: 'Hello' }],
    });
    const { req, res } = await under.requests.next();
    expect(req.url).toBe('/openai/v1/chat/completions');
    expect(req.headers.authorization).toBe(`Bearer ${KEY}`);
    res.writeHead(200, { 'content-type': 'text/event-stream' }).end(bytesOf(openaiChat.parts));
    let text = '';
    for await (const { choices } of await sent) text += choices[0]?.delta.content ?? '';
    expect(text).toBe(TEXT.join(''));
    expect(await under.usages.next()).toMatchObject({ inputTokens: 1117, outputTokens: 146, complete: true });
  });
});

describe('bedrock() with AWS credentials', () => {
  /** What the header is by another signer, of the request as it has arrived. */
  async function expectedAuthorization(
    url: string,
    received: Awaited<ReturnType<typeof recorder>>['received'][number],
  ) {
    const { headers, method, body } = received;
    const signed = ['x-amz-content-sha256', 'x-amz-security-token', 'x-amz-user-agent'];
    const signer = new AwsV4Signer({
      method,
      url: new URL(received.url, url).href,
      headers: Object.fromEntries(
        signed.flatMap((name) => (headers[name] === undefined ? [] : [[name, String(headers[name])]])),
      ),
      body: new Uint8Array(body),
      ...awsCredentials,
      service: 'bedrock',
      region,
      datetime: String(headers['x-amz-date']),
    });
    return (await signer.sign()).headers.get('authorization');
  }

  it("Bedrock: what is sent is signed by the server's credentials, and nothing of the caller's signature travels", async () => {
    const { url, received } = await recorder((_req, res) => {
      res.writeHead(200, { 'content-type': 'application/json' }).end(bytesOf(converseWhole.parts));
    });
    const provider = {
      ...bedrock({ region, target: url, credentials: async () => awsCredentials }),
      editRequest: (body: string) => ({ body: body.replace('{', '{"requestMetadata":{"edited":"yes"},') }),
    };
    const proxy = await proxyApp({ provider });
    const client = new BedrockRuntimeClient({
      region,
      endpoint: proxy.url,
      credentials: { accessKeyId: 'AKIDCALLER', secretAccessKey: 'secret-of-the-caller', sessionToken: 'token-caller' },
      requestHandler: new NodeHttpHandler(),
      maxAttempts: 1,
    });
    onCleanUp(() => client.destroy());
    await client.send(new ConverseCommand(conversation));
    const [arrived] = received;
    if (arrived === undefined) throw new Error('Nothing was sent');
    expect(arrived.url).toBe(`/model/${encodeURIComponent(MODEL)}/converse`);
    expect(String(arrived.body)).toContain('"edited":"yes"');
    expect(JSON.stringify(arrived.rawHeaders)).not.toMatch(/AKIDCALLER|token-caller/);
    expect(arrived.headers['x-amz-security-token']).toBe('token-of-the-server');
    expect(arrived.headers.authorization).toBe(await expectedAuthorization(url, arrived));
  });

  it("Bedrock: a caller's signature does not travel beside an API key", async () => {
    const { url, received } = await recorder();
    const proxy = await proxyApp({ provider: bedrock({ region, target: url, apiKey: KEY }) });
    const headers = {
      authorization: 'AWS4-HMAC-SHA256 Credential=AKIDCALLER/x, SignedHeaders=host, Signature=s',
      'x-amz-date': '20261101T000000Z',
      'x-amz-security-token': 'token-caller',
      'x-amz-content-sha256': 'hash-caller',
    };
    const path = '/model/m/converse?X-Amz-Signature=caller&X-Amz-Credential=caller';
    await readAll(await request(proxy.url + path, { method: 'POST', headers, body: '{}' }));
    const [arrived] = received;
    expect(arrived?.url).toBe('/model/m/converse');
    expect(arrived?.headers.authorization).toBe(`Bearer ${KEY}`);
    expect(JSON.stringify(arrived?.rawHeaders)).not.toMatch(/caller|x-amz-(date|security-token|content-sha256)/i);
  });

  it('Bedrock: credentials that cannot be had are told, and nothing is sent', async () => {
    const { url, received } = await recorder();
    const credentials = () => Promise.reject(new Error('The role cannot be assumed.'));
    const proxy = await proxyApp({ provider: bedrock({ region, target: url, credentials }) });
    const response = await request(`${proxy.url}/model/m/converse`, { method: 'POST', body: '{}' });
    expect(response.statusCode).toBe(500);
    expect(JSON.parse(String(await readAll(response)))).toMatchObject({ __type: 'InternalServerException' });
    expect(await proxy.summary()).toMatchObject({ error: { code: 'HOOK_FAILED', hook: 'sign' } });
    expect(received).toEqual([]);
  });
});
