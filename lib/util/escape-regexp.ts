/** The source of a pattern that finds this very text. (`RegExp.escape` is there from Node 24 on.) */
export function escaped(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}
