// SPDX-License-Identifier: BSD-2-Clause
/** Application servers on xtcpd: the protocol of xtcp-frame(7), in Node. */

/** A client's or our own end of a connection. */
export interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** One client. Made by the package alone, and told of by an open event. */
export class Conn {
  private constructor();

  /** The daemon's name for it: with `epoch`, for as long as it lives. */
  readonly id: bigint;
  /** Of xtcpd's arena: (epoch, id) never names another connection. */
  readonly epoch: bigint;
  readonly family: 4 | 6;
  readonly remote: Endpoint;
  readonly local: Endpoint;
  /** The application's own. */
  user: unknown;

  /** Position of the first byte that was not acknowledged. */
  readonly offset: number;
  /** Bytes before it were delivered before, perhaps to another process. */
  readonly redelivered: number;
  /** A copy of all that was told of and not acknowledged, from `offset` on. */
  readonly pending: Uint8Array;
  /** Position, in the stream of replies, of the next byte of reply(). */
  readonly sent: number;
  /** Bytes of replies that could not be sent yet. */
  readonly buffered: number;
  /** Bytes that reply() takes now. */
  readonly room: number;
  /** Neither closed by us nor gone. */
  readonly isOpen: boolean;

  /** Complete the handshake of a connection that waits for it. */
  accept(): void;
  /** Refuse it with a RST. */
  reject(): void;
  /**
   * Send data; when it was sent, acknowledge ackd bytes from `offset` on.
   *
   * Throws SlowClientError when the buffer can't hold data; an error whose code
   * is ECONNRESET when the connection is gone, EPIPE after shutdown(), EBADF
   * after close(); RangeError for more ackd than was told of. Then nothing was
   * sent or acknowledged.
   */
  reply(data?: Uint8Array | string, options?: { ackd?: number }): void;
  /** Send data unasked: reply() without an acknowledgement. */
  push(data: Uint8Array | string): void;
  /** Acknowledge n bytes from `offset` on, after what was sent before. */
  ack(n: number): void;
  /**
   * All before that position was processed, as a record of ours has it. What of
   * it was received is acknowledged, and what comes yet as it comes, without an
   * event.
   */
  done(offset: number): void;
  /** FIN after what was sent; receiving goes on. */
  shutdown(): void;
  /** FIN after what was sent; done with the connection. */
  close(): void;
  /** RST, and done with the connection; what waits to be sent is lost. */
  abort(): void;
  /** Wait until reply() takes n bytes (1). Rejects as reply() throws. */
  writable(n?: number): Promise<void>;
}

/**
 * A connection that this process didn't know: always its first event. One that
 * another process served before has an `offset` or `sent` over 0.
 */
export interface OpenEvent {
  readonly type: 'open';
  readonly conn: Conn;
  /** The client's handshake waits for accept() or reject(). */
  readonly waits: boolean;
}

/**
 * Bytes of the client, the first of them at position offset. What came before
 * and was not acknowledged is not repeated; it is in `conn.pending`, together
 * with these.
 */
export interface DataEvent {
  readonly type: 'data';
  readonly conn: Conn;
  /** A Buffer. */
  readonly data: Uint8Array;
  readonly offset: number;
  /**
   * Some of it was delivered before, perhaps to another process: all before
   * `conn.redelivered`.
   */
  readonly redelivered: boolean;
}

/** The client has closed its side; it may still be sent to. */
export interface EofEvent {
  readonly type: 'eof';
  readonly conn: Conn;
  readonly offset: number;
}

/** The connection is gone, or is another backend's now. */
export interface ResetEvent {
  readonly type: 'reset';
  readonly conn: Conn;
  readonly errno: number;
}

/** The stream of that worker gets no new connections from now on. */
export interface DrainEvent {
  readonly type: 'drain';
  readonly worker: number;
}

export type Event =
  OpenEvent | DataEvent | EofEvent | ResetEvent | DrainEvent;

/** An application server behind a group: an iterator over events, for one. */
export class Backend implements AsyncIterableIterator<Event> {
  private constructor();

  /** Of the group; 0 while xtcpd has not dialled us yet. */
  readonly port: number;
  /** All that this process knows of, without those that were closed. */
  readonly connections: Conn[];
  /** How many streams to workers of xtcpd are attached now. */
  readonly streamsUp: number;

  /** The next event, if there is one. */
  poll(): Event | null;
  next(): Promise<IteratorResult<Event, undefined>>;
  [Symbol.asyncIterator](): this;
  /**
   * Stop serving. xtcpd offers the connections, with their unacknowledged
   * requests, to others, or to the next one that attaches.
   */
  close(): Promise<void>;
}

export interface Options {
  /** For people; the program's by default. */
  name?: string;
  /** That may wait to be sent in each connection, 256 KiB by default. */
  bufferBytes?: number;
  /** Of requests that xtcpd may send ahead on each stream, 4 MiB by default. */
  creditBytes?: number;
}

export interface DialOptions extends Options {
  /** unix:PATH, tcp:HOST:PORT or a path, instead of XTCP_ATTACH. */
  address?: string;
  /** 4: clients with IPv4 only; 0, the default: all. */
  family?: 0 | 4;
  /** A receive pool of our own, within xtcpd's limits. */
  poolBytes?: number;
}

/**
 * Serve the group of a port of the xtcpd whose attach socket XTCP_ATTACH names,
 * by default /run/xtcpd/attach.sock.
 *
 * Rejects with an error whose code is ECONNREFUSED or ENOENT when xtcpd is not
 * there, ENOENT when it has no group of that port, ETIMEDOUT when it does not
 * answer within five seconds, EPROTO when it is none of our version. Later a
 * lost stream is dialled again for ever.
 */
export function dial(port: number, options?: DialOptions): Promise<Backend>;

/**
 * Serve what an xtcpd sends that has us configured as
 * `backend "x" { address = "unix:PATH" }`; tcp:HOST:PORT likewise. A stale
 * socket file is replaced.
 */
export function listen(address: string, options?: Options): Promise<Backend>;

/** What net.connect() takes. Throws TypeError, which says what is wrong. */
export function parseAddress(
  text: string): { path: string } | { host: string; port: number };

/** Where xtcpd listens: XTCP_ATTACH, or the default. */
export function attachAddress():
  { path: string } | { host: string; port: number };

/** The buffer of the connection is full: nothing was taken. */
export class SlowClientError extends Error {
  readonly code: 'EAGAIN';
}

/** What came is no frame that may come; code is EPROTO, EMSGSIZE... */
export class FrameError extends Error {
  readonly code: string;
  readonly errno: number;
  readonly reason: string;
}

/** xtcpd's ERROR, in its words. */
export class RefusedError extends FrameError {}
