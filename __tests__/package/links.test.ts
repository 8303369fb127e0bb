import { existsSync } from 'node:fs';
import { join, posix } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { SseProxyError, type SseProxyErrorCode } from '../../lib/index.js';
import { PAGES, ROOT, textOf } from '../support/programs/docs.js';

const API = ['docs/api/README.md', 'docs/api/express-sse-proxy.md', 'docs/api/express-sse-proxy/providers.md'];

/** A page without its code blocks. */
const proseOf = (page: string): string => textOf(page).replace(/^```.*?^```$/gms, '');

/** The targets of a page's links; what looks like one within code is none. */
function linksOf(page: string): string[] {
  const text = proseOf(page).replace(/`[^`\n]*`/g, '`code`');
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link);
}

/** GitHub's names for the headings of a page: the second of a name gets a 1, and so on. */
function anchorsOf(page: string): string[] {
  const counts = new Map<string, number>();
  return [...proseOf(page).matchAll(/^#+ +(.*?) *$/gm)].map(([, heading = '']) => {
    const slug = heading
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{M}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-');
    const count = counts.get(slug) ?? 0;
    counts.set(slug, count + 1);
    return count === 0 ? slug : `${slug}-${count}`;
  });
}

describe('the links', () => {
  it.each([...PAGES, ...API])('links of %s lead somewhere', (page) => {
    for (const link of linksOf(page).filter((link) => !link.startsWith('https://'))) {
      const [path = '', anchor] = link.split('#');
      const to = path === '' ? page : posix.join(posix.dirname(page), decodeURI(path));
      expect([link, existsSync(join(ROOT, to))]).toEqual([link, true]);
      if (anchor !== undefined) expect([link, anchorsOf(to)]).toEqual([link, expect.arrayContaining([anchor])]);
    }
  });

  it('links of the README lead to every page', () => {
    const paths = new Set(linksOf('README.md').map((link) => link.split('#')[0]));
    const pages = PAGES.filter((page) => page.startsWith('docs/'));
    expect(pages.length).toBeGreaterThan(5);
    for (const page of [...pages, API[0]]) expect(paths).toContain(page);
  });
});

describe.each(PAGES)('what %s names in its text', (page) => {
  it('what a page names: is a script that is there', () => {
    const { scripts } = JSON.parse(textOf('package.json'));
    for (const [, script = ''] of textOf(page).matchAll(/`npm run ([\w:]+)/g)) expect(scripts).toHaveProperty([script]);
  });

  it('what a page names: is an error code with its status', () => {
    for (const [, status, code] of textOf(page).matchAll(/\b(\d{3}) `([A-Z]+_[A-Z_]+)`/g)) {
      expect([code, new SseProxyError(code as SseProxyErrorCode).statusCode]).toEqual([code, Number(status)]);
    }
  });
});
