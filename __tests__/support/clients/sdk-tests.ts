import { expect, it } from '@jest/globals';
import type { SseProxyOptions } from '../../../lib/index.js';
import { ABORTS, ERRORS, HEARTBEATS, PING, STREAMS } from '../programs/compatibility.js';
import { appStack } from '../servers/app-stack.js';
import { type ProxiedProvider, proxiedProvider } from '../servers/provider.js';
import { bytesOf, TEXT } from '../streams/dialects.js';
import { type Sdk, tappedFetch } from './sdks.js';

/** Where it does not say what is sent while its streams are silent, that is a comment. */
export type ClientSdk = Pick<Sdk, 'provider' | 'streamed' | 'stream'> & Partial<Pick<Sdk, 'heartbeat'>>;

/** A provider at a stand-in, behind the proxy of an app. */
export const providerBehindApp = (sdk: ClientSdk, options?: SseProxyOptions): Promise<ProxiedProvider> =>
  proxiedProvider(sdk.provider, options, appStack());

/** What an SDK is held to whose answers come as Server-Sent Events. */
export function testsOfSdk(sdk: ClientSdk, error: { body: object; thrown: object }): void {
  testsOfStreams(sdk);
  testsOfErrors(sdk, error);

  it(HEARTBEATS, async () => {
    const { upstream, proxy } = await providerBehindApp(sdk, { heartbeat: { interval: 10 } });
    const tap = tappedFetch();
    const { heartbeat = PING } = sdk;
    const pings = (): number => tap.wire.split(heartbeat).length - 1;
    const reading = sdk.stream(proxy.url, tap.fetch).then(async (stream) => {
      await stream.toEnd();
      return stream.said.text;
    });
    const asked = await upstream.next();
    asked.start(sdk.streamed);
    for (const part of sdk.streamed.parts) {
      const before = pings();
      await tap.until(() => pings() >= before + 2);
      asked.send([part]);
    }
    asked.end();
    expect(await reading).toBe(TEXT.join(''));
    expect(tap.wire.replaceAll(heartbeat, '')).toBe(bytesOf(sdk.streamed.parts).toString());
  });
}

export function testsOfStreams(sdk: ClientSdk): void {
  it(STREAMS, async () => {
    const { upstream, proxy } = await providerBehindApp(sdk);
    const coming = sdk.stream(proxy.url);
    const asked = await upstream.next();
    asked.start(sdk.streamed);
    let text = '';
    for (const part of sdk.streamed.parts) {
      asked.send([part]);
      const piece = TEXT.find((each) => part.bytes.includes(JSON.stringify(each)));
      if (piece === undefined) continue;
      text += piece;
      await (await coming).untilText(text);
    }
    asked.end();
    const stream = await coming;
    await stream.toEnd();
    expect(stream.said.text).toBe(TEXT.join(''));
    expect((await proxy.summary()).outcome).toBe('completed');
  });

  it(ABORTS, async () => {
    const { upstream, proxy } = await providerBehindApp(sdk);
    const coming = sdk.stream(proxy.url);
    const asked = await upstream.next();
    asked.start(sdk.streamed);
    asked.send(sdk.streamed.parts.slice(0, -1));
    const stream = await coming;
    await stream.untilText(TEXT[0]);
    stream.abort();
    // Some throw at an abort of their own, others end.
    await stream.toEnd().catch(() => {});
    await asked.closed;
    expect((await proxy.summary()).outcome).toBe('client-closed');
  });
}

export function testsOfErrors(sdk: ClientSdk, { body, thrown }: { body: object; thrown: object }): void {
  it(ERRORS, async () => {
    const { upstream, proxy } = await providerBehindApp(sdk);
    const failed = sdk.stream(proxy.url).then((stream) => stream.toEnd());
    const { res } = await upstream.next();
    res.writeHead(429, { 'content-type': 'application/json' }).end(JSON.stringify(body));
    const error: unknown = await failed.catch((reason) => reason);
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject(thrown);
    expect(await proxy.summary()).toMatchObject({ outcome: 'completed', statusCode: 429 });
  });
}
