/** Headers by lower-case name. An array stands for one header line per element. */
export type HeaderFields = Record<string, string | string[]>;

/** The head of a response, before its status line is sent. All of it may be changed. */
export interface ResponseHead {
  /** 200 to 999. */
  statusCode: number;
  /** The reason phrase; empty for the standard one. HTTP/2 has none. */
  statusMessage: string;
  /** By lower-case name. Headers with characters that HTTP forbids are left out when the head is sent. */
  headers: HeaderFields;
}
