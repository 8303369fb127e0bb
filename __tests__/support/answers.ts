import { expect } from '@jest/globals';

/** The answers in what has come, each with the 1xx in front of it. Fails where something stands between them. */
export function answersIn(text: string): { informational: string[]; status: number; body: string }[] {
  const answers = [];
  let rest = text;
  let informational: string[] = [];
  while (rest !== '') {
    const end = rest.indexOf('\r\n\r\n') + 4;
    const head = rest.slice(0, end);
    expect(head).toMatch(/^HTTP\/1.1 \d{3} /);
    rest = rest.slice(end);
    const status = Number(head.slice(9, 12));
    if (status < 200) {
      informational.push(head);
      continue;
    }
    const length = /^content-length: (\d+)\r$/im.exec(head)?.[1];
    let body = '';
    if (length !== undefined) {
      body = rest.slice(0, Number(length));
      rest = rest.slice(Number(length));
    } else {
      for (let size = -1; size !== 0; ) {
        const [line = ''] = rest.split('\r\n', 1);
        expect(line).toMatch(/^[\da-f]+$/);
        size = Number.parseInt(line, 16);
        body += rest.slice(line.length + 2, line.length + 2 + size);
        rest = rest.slice(line.length + 4 + size);
      }
    }
    answers.push({ informational, status, body });
    informational = [];
  }
  return answers;
}
