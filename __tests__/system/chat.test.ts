import { EventEmitter, once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { ChatCompletion } from 'openai/resources';
import type { Browser, Page } from 'playwright-core';
import type { Stopped } from '../../examples/chat/provider.js';
import { startServer } from '../../examples/chat/server.js';
import type { StreamSummary } from '../../lib/index.js';
import { launchChromium } from '../support/programs/chromium.js';

/** The page's, in functions that run there. */
declare const document: { querySelector(selector: string): { textContent: string } | null };

describe('the chat page in Chromium', () => {
  let server: Awaited<ReturnType<typeof startServer>>;
  let browser: Browser;
  let page: Page;
  /** `start` and `stop` of the stand-in, `finish` when the proxy has ended an exchange. */
  const happenings = new EventEmitter();
  /** What the browser complains of: scripts that throw, what the content security policy forbids, failed requests. */
  let complaints: string[];
  /** The complaints that a test provokes. */
  let expected: RegExp[];

  beforeAll(async () => {
    server = await startServer({
      port: 0,
      env: {},
      log: () => {},
      standIn: {
        tokenDelay: 15,
        slowHead: 60_000,
        onStart: (provider) => happenings.emit('start', provider),
        onStop: (stopped) => happenings.emit('stop', stopped),
      },
      onFinish: (summary) => happenings.emit('finish', summary),
    });
    browser = await launchChromium();
  }, 120_000);

  afterAll(async () => {
    await browser?.close();
    await server?.close();
  });

  beforeEach(async () => {
    complaints = [];
    expected = [];
    page = await browser.newPage();
    page.on('pageerror', (error) => complaints.push(String(error)));
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
    });
    const response = await page.goto(server.url);
    expect(response?.headers()['content-security-policy']).toContain("default-src 'none'");
    await page.locator('html[data-ready]').waitFor({ state: 'attached' });
  }, 30_000);

  afterEach(async () => {
    await page.close();
    happenings.removeAllListeners();
    expect(complaints).toEqual(expected.map((pattern) => expect.stringMatching(pattern)));
  });

  const status = (state: string) => page.locator(`#status[data-state="${state}"]`).waitFor();
  const answer = async () => (await page.locator('.message.assistant .text').last().textContent()) ?? '';
  const notice = () => page.locator('.message.assistant .notice').last();

  /** Resolves with the length of the answer once it is longer than `length` while it can still be stopped. */
  const longerThan = async (length: number): Promise<number> => {
    const handle = await page.waitForFunction((length) => {
      const text = document.querySelector('.message.assistant .text')?.textContent ?? '';
      const open = document.querySelector('#stop:enabled') !== null;
      return open && text.length > length ? text.length : false;
    }, length);
    return Number(await handle.jsonValue());
  };

  const ask = async (text: string, behaviour = '') => {
    await page.selectOption('#behaviour', behaviour);
    await page.fill('#prompt', text);
    await page.press('#prompt', 'Enter');
  };

  const whole = async (question: string) => {
    const finish = once(happenings, 'finish');
    const response = await fetch(`${server.url}/openai/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ messages: [{ role: 'user', content: question }] }),
    });
    const { choices, usage } = (await response.json()) as ChatCompletion;
    await finish;
    return { text: choices[0]?.message.content ?? '', tokens: usage?.completion_tokens };
  };

  it.each(['openai', 'anthropic'])(
    'shows the text of %s grow while the stream is open',
    async (provider) => {
      const question = 'Why do emoji break in transit?';
      const { text, tokens } = await whole(question);
      await page.locator(`[name="provider"][value="${provider}"]`).check();
      let open = true;
      happenings.once('finish', () => {
        open = false;
      });
      const finish = once(happenings, 'finish');

      await ask(question);
      let length = 0;
      for (let step = 0; step < 5; step += 1) {
        const next = await longerThan(length);
        expect(next).toBeGreaterThan(length);
        expect(next).toBeLessThan(text.length);
        expect(open).toBe(true);
        length = next;
      }

      await status('done');
      expect(await answer()).toBe(text);
      expect(await finish).toMatchObject([{ outcome: 'completed', statusCode: 200 }]);
      expect(await page.locator('#tokens').textContent()).toBe(String(tokens));
      expect(await page.locator('#ttft').textContent()).toMatch(/^\d+ ms$/);
      expect(Number(await page.locator('#rate').textContent())).toBeGreaterThan(1);
      expect(await notice().isHidden()).toBe(true);
      expect(await page.locator('#stop').isDisabled()).toBe(true);
      expect(await page.locator('#send').isEnabled()).toBe(true);
    },
    30_000,
  );

  it('stops the provider with the Stop button, and goes on with the conversation', async () => {
    const stop = once(happenings, 'stop') as Promise<[Stopped]>;
    const finish = once(happenings, 'finish') as Promise<[StreamSummary]>;
    await ask('How does streaming work?');
    await longerThan(20);
    await page.click('#stop');

    const [{ tokens, total }] = await stop;
    expect(tokens).toBeGreaterThan(0);
    expect(tokens).toBeLessThan(total);
    expect((await finish)[0].outcome).toBe('client-closed');
    await status('stopped');
    expect(await notice().textContent()).toBe('Stopped by you.');

    const conversation = page.waitForRequest('**/chat/completions');
    const stopped = await answer();
    await ask('Go on');
    expect((await conversation).postDataJSON().messages).toEqual([
      { role: 'user', content: 'How does streaming work?' },
      { role: 'assistant', content: stopped },
      { role: 'user', content: 'Go on' },
    ]);
    await status('done');
  }, 30_000);

  it('stops the provider before its first token', async () => {
    const stop = once(happenings, 'stop') as Promise<[Stopped]>;
    const start = once(happenings, 'start');
    await ask('Hello', 'slow-head');
    await start;
    await status('waiting');
    await page.click('#stop');
    expect((await stop)[0].tokens).toBe(0);
    await status('stopped');
    expect(await page.locator('#ttft').textContent()).toBe('–');
  }, 30_000);

  it('shows that a stream was cut', async () => {
    expected = [/ERR_INCOMPLETE_CHUNKED_ENCODING/];
    const { text } = await whole('How does streaming work?');
    await ask('How does streaming work?', 'die-mid-stream');
    await status('cut');
    const half = await answer();
    expect(half.length).toBeGreaterThan(100);
    expect(text.startsWith(half)).toBe(true);
    expect(half.length).toBeLessThan(text.length);
    expect(await notice().textContent()).toBe('The stream was cut before its end: this answer is not complete.');
  }, 30_000);

  it.each(['openai', 'anthropic'])(
    'shows a stream of %s that ends cleanly, but too early, as cut',
    async (provider) => {
      await page.locator(`[name="provider"][value="${provider}"]`).check();
      await page.route(`**/${provider}/**`, (route) =>
        route.fulfill({
          contentType: 'text/event-stream',
          body:
            provider === 'openai'
              ? 'data: {"choices":[{"delta":{"content":"Half of"}}]}\n\n'
              : 'event: content_block_delta\ndata: {"delta":{"text":"Half of"}}\n\n',
        }),
      );
      await ask('Hello');
      await status('cut');
      expect(await answer()).toBe('Half of');
      expect(await notice().textContent()).toContain('not complete');
    },
    30_000,
  );

  it.each([
    ['openai', 'The server had an error while processing your request. Sorry about that!'],
    ['anthropic', 'Overloaded'],
  ])(
    'shows the error in a stream of %s',
    async (provider, reason) => {
      await page.locator(`[name="provider"][value="${provider}"]`).check();
      await ask('Hello', 'error-in-stream');
      await status('error');
      expect((await answer()).length).toBeGreaterThan(100);
      expect(await notice().textContent()).toBe(`The provider broke off with an error: ${reason}`);
    },
    30_000,
  );

  it.each(['openai', 'anthropic'])(
    'shows the error that %s answers with',
    async (provider) => {
      expected = [/status of 429/];
      await page.locator(`[name="provider"][value="${provider}"]`).check();
      await ask('Hello', 'error-429');
      await status('error');
      expect(await answer()).toBe('');
      expect(await notice().textContent()).toBe('429: Rate limit reached for requests. Please try again in 1s.');
      expect(await page.locator('#send').isEnabled()).toBe(true);
    },
    30_000,
  );

  it('shows markup as text', async () => {
    const markup = '<img src=x onerror="document.title = 1">';
    await ask(markup);
    await status('done');
    expect(await page.locator('.message.user .text').textContent()).toBe(markup);
    expect(await page.locator('.message img').count()).toBe(0);
  }, 30_000);

  it('breaks lines at Shift+Enter, and starts over with New chat', async () => {
    await page.fill('#prompt', 'one');
    await page.press('#prompt', 'Shift+Enter');
    await page.locator('#prompt').pressSequentially('two');
    expect(await page.locator('#prompt').inputValue()).toBe('one\ntwo');
    expect(await page.locator('.message').count()).toBe(0);
    await page.press('#prompt', 'Enter');
    await longerThan(0);
    const stop = once(happenings, 'stop');
    await page.click('#new');
    await stop;
    expect(await page.locator('.message').count()).toBe(0);
    expect(await page.locator('#welcome').isVisible()).toBe(true);
  }, 30_000);
});
