// SPDX-License-Identifier: BSD-2-Clause
/**
 * The frames of xtcp-frame(7): bytes to fields and back, nothing else.
 *
 *	const wire = encode({ type: Type.REPLY, conn: 7n, payload });
 *	const reader = new Reader(Side.XTCPD);
 *	reader.feed(wire);
 *	for (let f; (f = reader.next()) !== null; ) ...
 *
 * Fields of 64 bits are bigints, the others numbers. A frame that must not be
 * sent, or not in this direction, throws FrameError, then and ever after:
 * behind a bad header there is no way to the next one.
 */

import { constants } from 'node:os';

export const MAGIC = 0x58544350;
export const VERSION = 1;
export const HEADER_BYTES = 32;
export const PAYLOAD_MAX = 128 * 1024;
/** What each side must at least take in one frame, and grant to xtcpd. */
export const PAYLOAD_MIN = 4096;
export const WORKER_ANY = 0xffff;
export const WORKERS_MAX = 256;
export const NAME_BYTES = 256;
export const HELLO_BYTES = 48;
export const ATTACH_BYTES = 24;
export const ADDR_BYTES = 48;

/** Who reads a frame. */
export const Side = Object.freeze({ BACKEND: 'backend', XTCPD: 'xtcpd' });

export const Type = Object.freeze({
  HELLO: 1, ATTACH: 2, ATTACHED: 3, ERROR: 4, CREDIT: 5,
  OPEN: 16, DATA: 17, EOF: 18, RESET: 19, DRAIN: 20, PING: 21,
  ACCEPT: 32, REJECT: 33, REPLY: 34, CLOSE: 35, FIN: 36, ABORT: 37, PONG: 38,
});

/** Flags of the header. */
export const REDELIVERED = 1; // DATA, EOF: (part of) it was delivered before
export const FIRST = 2; // DATA, EOF, OPEN: the payload begins with addresses
export const WAITS = 4; // OPEN: the handshake waits for ACCEPT or REJECT
export const FATAL = 8; // ERROR: the sender closes the stream after it
export const AT = 16; // REPLY, CLOSE, FIN, ABORT, REJECT: aux is a position
export const RESUMED = 32; // PING: the resumption is complete
export const SHORT = 64; // REPLY: asks for CREDIT of this connection

/** Flags of HELLO. */
export const HELLO_RESUME = 1; // from xtcpd: it keeps Resumption's promises
export const HELLO_RESUMES = 2; // from a backend: it was attached before

/** Flags of ATTACH and ATTACHED. */
export const ATTACH_APPLICATION = 1; // connections wait for ACCEPT
export const ATTACH_OWN_POOL = 2; // make a pool and a group of our own
export const ATTACH_ANNOUNCE = 4; // connections are announced with OPEN

const B = [Side.BACKEND];
const X = [Side.XTCPD];
const E = [Side.BACKEND, Side.XTCPD];

/** By type: name, readers, smallest and largest payload. */
const RULES = [];
for (const [name, readers, least, most] of [
  ['HELLO', E, HELLO_BYTES, HELLO_BYTES + NAME_BYTES],
  ['ATTACH', E, ATTACH_BYTES, ATTACH_BYTES],
  ['ATTACHED', E, ATTACH_BYTES, ATTACH_BYTES],
  ['ERROR', E, 0, 1024],
  ['CREDIT', E, 0, 0],
  ['OPEN', B, ADDR_BYTES, ADDR_BYTES],
  ['DATA', B, 1, PAYLOAD_MAX],
  ['EOF', B, 0, ADDR_BYTES],
  ['RESET', B, 0, 0],
  ['DRAIN', E, 0, 0],
  ['PING', E, 0, 0],
  ['ACCEPT', X, 0, 0],
  ['REJECT', X, 0, 0],
  ['REPLY', X, 0, PAYLOAD_MAX],
  ['CLOSE', X, 0, 0],
  ['FIN', X, 0, 0],
  ['ABORT', X, 0, 0],
  ['PONG', E, 0, 0],
])
  RULES[Type[name]] = { name, readers, least, most };

const CODES = new Map(
  Object.entries(constants.errno).map(([code, number]) => [number, code]));

/** The name of an errno, such as "ENOENT". */
export function errorCode(number) {
  return CODES.get(number) ?? `E${number}`;
}

/** What came is no frame that may come; code is EPROTO or EMSGSIZE. */
export class FrameError extends Error {
  constructor(code, message) {
    super(`${code}: ${message}`);
    this.name = 'FrameError';
    this.code = code;
    this.errno = constants.errno[code];
    this.reason = message;
  }
}

export function protocolError(message) {
  return new FrameError('EPROTO', message);
}

export function typeName(type) {
  return RULES[type]?.name ?? 'unknown';
}

const NOTHING = Buffer.alloc(0);

/** Header and payload; what is left out is 0. */
export function encode({ type, flags = 0, group = 0, conn = 0n, offset = 0n,
  ackd = 0, aux = 0, payload = NOTHING }) {
  const wire = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  wire.writeUInt32BE(payload.length, 0);
  wire[4] = type;
  wire[5] = flags;
  wire.writeUInt16BE(group, 6);
  wire.writeBigUInt64BE(conn, 8);
  wire.writeBigUInt64BE(offset, 16);
  wire.writeUInt32BE(ackd, 24);
  wire.writeUInt32BE(aux, 28);
  wire.set(payload, HEADER_BYTES);
  return wire;
}

/** Throws FrameError unless side may read such a frame. */
export function checkHeader(type, length, side, maxPayload) {
  const rule = RULES[type];
  if (rule === undefined)
    throw protocolError(`frames have no type ${type}`);
  if (!rule.readers.includes(side))
    throw protocolError(`${rule.name} is not for ${side}`);
  if (length < rule.least || length > Math.min(rule.most, maxPayload))
    throw new FrameError('EMSGSIZE', `${rule.name} with ${length} bytes`);
}

/** Frames out of the bytes that came to side. */
export class Reader {
  #side;
  #maxPayload;
  #data = NOTHING;
  #error = null;

  constructor(side, maxPayload = PAYLOAD_MAX) {
    this.#side = side;
    this.#maxPayload = maxPayload;
  }

  /** Bytes that came behind those before; they must not change any more. */
  feed(data) {
    this.#data = this.#data.length > 0
      ? Buffer.concat([this.#data, data])
      : Buffer.from(data.buffer, data.byteOffset, data.length);
  }

  /** The next whole frame; null: more bytes are needed. */
  next() {
    if (this.#error !== null)
      throw this.#error;
    const data = this.#data;
    if (data.length < HEADER_BYTES)
      return null;
    const length = data.readUInt32BE(0);
    try {
      checkHeader(data[4], length, this.#side, this.#maxPayload);
    } catch (e) {
      this.#error = e;
      throw e;
    }
    if (data.length < HEADER_BYTES + length)
      return null;
    this.#data = data.subarray(HEADER_BYTES + length);
    return {
      type: data[4],
      flags: data[5],
      group: data.readUInt16BE(6),
      conn: data.readBigUInt64BE(8),
      offset: data.readBigUInt64BE(16),
      ackd: data.readUInt32BE(24),
      aux: data.readUInt32BE(28),
      payload: data.subarray(HEADER_BYTES, HEADER_BYTES + length),
    };
  }
}

/** The payload of HELLO; what is left out is as our own has it. */
export function encodeHello({ magic = MAGIC, version = VERSION, flags = 0,
  workers = 0, worker = WORKER_ANY, max_payload = PAYLOAD_MAX,
  stream_credit = 0, conn_window = 0, instance = 0n, pid = 0, epoch = 0n,
  name = NOTHING }) {
  const wire = Buffer.alloc(HELLO_BYTES + Math.min(name.length, NAME_BYTES));
  wire.writeUInt32BE(magic, 0);
  wire.writeUInt16BE(version, 4);
  wire.writeUInt16BE(flags, 6);
  wire.writeUInt16BE(workers, 8);
  wire.writeUInt16BE(worker, 10);
  wire.writeUInt32BE(max_payload, 12);
  wire.writeUInt32BE(stream_credit, 16);
  wire.writeUInt32BE(conn_window, 20);
  wire.writeBigUInt64BE(instance, 24);
  wire.writeUInt32BE(pid, 32);
  wire.writeBigUInt64BE(epoch, 40);
  wire.set(name.subarray(0, NAME_BYTES), HELLO_BYTES);
  return wire;
}

export function decodeHello(payload) {
  return {
    magic: payload.readUInt32BE(0),
    version: payload.readUInt16BE(4),
    flags: payload.readUInt16BE(6),
    workers: payload.readUInt16BE(8),
    worker: payload.readUInt16BE(10),
    max_payload: payload.readUInt32BE(12),
    stream_credit: payload.readUInt32BE(16),
    conn_window: payload.readUInt32BE(20),
    instance: payload.readBigUInt64BE(24),
    pid: payload.readUInt32BE(32),
    epoch: payload.readBigUInt64BE(40),
    name: payload.subarray(HELLO_BYTES),
  };
}

/** Throws FrameError unless side can go on with who says this. */
export function checkHello(hello, side) {
  if (hello.magic !== MAGIC)
    throw protocolError('what is there is no xtcpd, and no backend');
  if (hello.version !== VERSION)
    throw protocolError(
      `it speaks version ${hello.version}, and we ${VERSION}`);
  if (hello.max_payload < PAYLOAD_MIN)
    throw protocolError(
      `it takes ${hello.max_payload} bytes in a frame, too few`);
  if (side === Side.XTCPD && hello.stream_credit < PAYLOAD_MIN)
    throw protocolError(`it grants ${hello.stream_credit} bytes, too few`);
  if (side === Side.BACKEND && hello.conn_window < 2)
    throw protocolError('its window for a connection is empty');
}

/** The payload of ATTACH and ATTACHED. */
export function encodeAttach({ port, family = 0, flags = 0, priority = 0,
  pool_bytes = 0n }) {
  const wire = Buffer.alloc(ATTACH_BYTES);
  wire.writeUInt16BE(port, 0);
  wire[2] = family;
  wire[3] = flags;
  wire.writeUInt32BE(priority, 4);
  wire.writeBigUInt64BE(pool_bytes, 8);
  return wire;
}

export function decodeAttach(payload) {
  return {
    port: payload.readUInt16BE(0),
    family: payload[2],
    flags: payload[3],
    priority: payload.readUInt32BE(4),
    pool_bytes: payload.readBigUInt64BE(8),
  };
}

/** The addresses that come with FIRST; hosts are 16 bytes, as on the wire. */
export function encodeAddr({ family, remote_port, local_port, remote, local,
  send_offset = 0n }) {
  const wire = Buffer.alloc(ADDR_BYTES);
  wire[0] = family;
  wire.writeUInt16BE(remote_port, 2);
  wire.writeUInt16BE(local_port, 4);
  wire.set(remote, 8);
  wire.set(local, 24);
  wire.writeBigUInt64BE(send_offset, 40);
  return wire;
}

/** Of the front of a payload; throws FrameError when there is no address. */
export function decodeAddr(payload) {
  if (payload.length < ADDR_BYTES)
    throw protocolError('no address where FIRST says so');
  if (payload[0] !== 4 && payload[0] !== 6)
    throw protocolError(`no address family ${payload[0]}`);
  return {
    family: payload[0],
    remote_port: payload.readUInt16BE(2),
    local_port: payload.readUInt16BE(4),
    remote: payload.subarray(8, 24),
    local: payload.subarray(24, 40),
    send_offset: payload.readBigUInt64BE(40),
  };
}

/** A host of decodeAddr() as text. */
export function hostText(family, wire) {
  if (family === 4)
    return wire.subarray(0, 4).join('.');
  const groups = [];
  for (let i = 0; i < 16; i += 2)
    groups.push(wire.readUInt16BE(i).toString(16));
  // the longest run of zeros, as RFC 5952 wants it
  return new URL(`http://[${groups.join(':')}]/`).hostname.slice(1, -1);
}

/** Up to where a connection's replies may go: xtcp-frame(7), Credit. */
export function sendLimit(una, half) {
  return (una / half + 2n) * half;
}
