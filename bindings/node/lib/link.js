// SPDX-License-Identifier: BSD-2-Clause
/**
 * One framed stream to one worker of xtcpd, over all its reconnections.
 *
 * Pure protocol: bytes come by feed(), go by take(), and nothing in here opens
 * a socket or looks at a clock. A Core has the links and the connections of one
 * backend; backend.js gives it sockets.
 *
 *         begin()              HELLO              ATTACH(ED)
 *   DOWN ------------> HELLO ------------> ATTACH ------------> UP
 *     ^___________________lost()_______________________________/
 *
 * Nothing lost, nothing twice (xtcp-frame(7), Resumption):
 *
 *   Conn._unsent --credit, room--> out --PONG--> forgotten
 *                                   | lost()
 *                                 kept --begin again, UP--> out
 *
 * A reply is given a position when it becomes a frame, and the frame is kept
 * until a PONG covers it. After a loss the kept frames go first, then an empty
 * REPLY for each connection, then a PING with RESUMED; until its PONG nothing
 * else is said of any connection, and what the application sends meanwhile
 * waits in its connection.
 *
 * I1  kept is empty while UP and not resuming.
 * I2  closed is in the order of its frames in out; null: that is in kept.
 */

import { constants } from 'node:os';

import { Conn } from './conn.js';
import { Queue } from './core.js';
import * as frames from './frames.js';
import {
  AT, FIRST, FrameError, HEADER_BYTES, protocolError, RESUMED, SHORT, Side,
  Type, typeName,
} from './frames.js';

/** Unconfirmed bytes above which no reply is sent; control frames still are. */
const OUT_SOFT = 512 * 1024;
/** Hard bound: never reached with an xtcpd that reads. */
export const OUT_MAX = 64 * 1024 * 1024;
/** Ask for confirmation (PING) once so much is not confirmed. */
const PING_BYTES = 16 * 1024;
/** Write at once when so much is gathered. */
const CORK_BYTES = 64 * 1024;
/** Credit that an xtcpd can have granted in all. */
const SEND_CREDIT_MAX = 2 ** 40;

const NOTHING = Buffer.alloc(0);
const HANDSHAKE = [Type.HELLO, Type.ATTACH, Type.ATTACHED, Type.ERROR];
const ENDS = [Type.CLOSE, Type.ABORT, Type.REJECT];

/** The other side's ERROR: it closes the stream. */
export class RefusedError extends FrameError {
  constructor(code, message) {
    super(code, message);
    this.name = 'RefusedError';
  }
}

/** A position of a frame as a number. */
function position(big) {
  if (big > BigInt(Number.MAX_SAFE_INTEGER))
    throw protocolError(`position ${big} is beyond what we can count`);
  return Number(big);
}

export class Link {
  constructor(core, worker = null) {
    this.core = core;
    this.worker = worker; // null before HELLO
    this.state = 'DOWN';
    this.life = 0; // one more with each stream
    this.wasUp = false;
    this.epoch = 0n;
    this.resuming = false; // until the PONG that ends the resumption
    this.resumed = false; // ... its PING was sent
    this.resumes = false; // what our HELLO said
    this.kept = new Queue();
    this.closed = new Map();
    this.wants = new Queue();
    this.#clear();
  }

  /** What goes with a stream. */
  #clear() {
    this.reader = new frames.Reader(Side.BACKEND);
    this.group = 0;
    this.maxPayload = frames.PAYLOAD_MAX;
    this.half = 1;
    this.sendCredit = 0;
    this.recvUsed = 0;
    this.drained = false;
    this.filling = false;
    this.failed = null;
    this.written = []; // to be taken
    this.writtenBytes = 0;
    this.out = new Queue(); // { end: position, f }
    this.base = this.tail = 0;
    this.ping = 0; // position that the PONG confirms; 0: none is due
    this.resuming = this.resumed = false;
    this.resync = new Queue();
  }

  // --- the stream begins and ends

  /** A stream is there; who dialled it speaks first. */
  begin() {
    this.life++;
    this.#clear();
    this.state = 'HELLO';
    if (!this.core.listens)
      this.#hello();
  }

  /** The stream is gone; connections and what is kept outlive that. */
  lost() {
    if (this.state === 'UP') {
      this.#dropWaiting();
      this.#keep();
    }
    this.state = 'DOWN';
    this.#clear();
  }

  /** xtcpd has no such worker any more. */
  discard() {
    this.lost();
    this.#forget();
  }

  #forget() {
    this.kept = new Queue();
    this.#releaseClosed(Infinity);
    for (const c of this.core.connsOf(this))
      this.core.lose(c);
  }

  /** Handshakes that wait for us: they will be offered again. */
  #dropWaiting() {
    for (const c of this.core.connsOf(this))
      if (c._waits)
        this.core.lose(c);
  }

  #keep() {
    const kept = new Queue();
    for (const { f } of this.out)
      if (f.type !== Type.REPLY || f.payload.length > 0 || f.ackd > 0)
        kept.push(f);
    for (const f of this.kept)
      kept.push(f);
    this.kept = kept;
    for (const c of this.closed.keys())
      this.closed.set(c, null);
  }

  // --- bytes out

  /** What is to be written to the stream. Throws FrameError as feed(). */
  take() {
    if (this.state === 'DOWN')
      return NOTHING;
    this.filling = true;
    this.#fill();
    this.filling = false;
    if (this.failed !== null)
      throw this.failed;
    const data = this.written.length === 1
      ? this.written[0] : Buffer.concat(this.written, this.writtenBytes);
    this.written = [];
    this.writtenBytes = 0;
    return data;
  }

  #put(f) {
    const wire = frames.encode(f);
    this.tail += wire.length;
    if (this.tail - this.base > OUT_MAX) {
      // for take(), not for the application that happens to send
      this.failed = new FrameError('ENOBUFS', "it doesn't read what we say");
    }
    if (f.conn)
      this.out.push({ end: this.tail, f });
    this.written.push(wire);
    this.writtenBytes += wire.length;
    if (!this.filling && (this.written.length === 1 || !this.corked))
      this.core.onOutput(this);
  }

  /** Little waits to be taken: more may be gathered. */
  get corked() {
    return this.writtenBytes < CORK_BYTES;
  }

  get #held() {
    return this.tail - this.base;
  }

  /** Connections may be spoken of. */
  get isOpen() {
    return this.state === 'UP' && !this.resuming && this.kept.length === 0;
  }

  /** n bytes of that life of the stream have made room for others. */
  grant(n, life) {
    if (life !== this.life || this.state !== 'UP')
      return;
    this.recvUsed += n;
    if (this.recvUsed < this.core.creditBytes / 2)
      return;
    const aux = this.recvUsed;
    this.recvUsed = 0;
    this.#put({ type: Type.CREDIT, group: this.group, aux });
  }

  // --- what is sent of connections

  /** As soon as credit and room allow, after what waits already. */
  send(c, part) {
    const last = c._unsent[c._unsent.length - 1];
    if (last?.type === Type.REPLY && part.type === Type.REPLY &&
        part.data.length === 0) {
      last.ackd += part.ackd;
      return;
    }
    c._unsent.push(part);
    c._unsentBytes += part.data.length;
    if (last === undefined)
      this.want(c);
  }

  /** c has something to send. */
  want(c) {
    if (c._wanted || c._unsent.length === 0)
      return;
    if (this.isOpen && this.wants.length === 0 && this.#serve(c))
      return;
    if (this.#serveable(c)) {
      c._wanted = true;
      this.wants.push(c);
    }
  }

  unwant(c) {
    if (c._wanted)
      this.wants.remove(c);
    c._wanted = false;
  }

  /** Whether it is not its own credit that c waits for. */
  #serveable(c) {
    return c._unsent.length > 0 &&
      (c._unsent[0].data.length === 0 || c._limit > c._sentOut);
  }

  /** Bytes that a reply may have now, on any connection. */
  get room() {
    return Math.min(this.sendCredit, OUT_SOFT - this.#held - HEADER_BYTES);
  }

  /** Frames of what c wants to send. Whether all of it went. */
  #serve(c) {
    const before = c._unsentBytes;
    let at = 0;
    for (; at < c._unsent.length; at++) {
      const part = c._unsent[at];
      if (part.type !== Type.REPLY) {
        this.#control(c, part.type);
        continue;
      }
      const n = Math.max(0, Math.min(part.data.length, this.maxPayload,
        this.room, c._limit - c._sentOut));
      if (n === 0 && (part.data.length > 0 || this.#held >= OUT_SOFT))
        break;
      const whole = n === part.data.length;
      this.#reply(c, whole ? part.ackd : 0, part.data.subarray(0, n));
      c._unsentBytes -= n;
      if (!whole) {
        part.data = part.data.subarray(n);
        at--;
      }
    }
    c._unsent.splice(0, at);
    if (before > c._unsentBytes)
      this.core.wakeRoom(c);
    return c._unsent.length === 0;
  }

  #reply(c, ackd, payload) {
    let flags = AT;
    if (this.resync.length > 0 && payload.length === 0 &&
        c._limit - c._sentOut < this.half)
      flags |= SHORT;
    this.#put({ type: Type.REPLY, flags, group: this.group, conn: c.id,
      offset: BigInt(c._ackedOut), ackd, aux: c._sentOut % 2 ** 32, payload });
    c._ackedOut += ackd;
    c._sentOut += payload.length;
    this.sendCredit -= payload.length;
  }

  #control(c, type) {
    const f = { type, group: this.group, conn: c.id, payload: NOTHING };
    if (type === Type.ACCEPT) {
      c._waits = false;
    } else {
      f.flags = AT;
      f.aux = c._sentOut % 2 ** 32;
    }
    this.#put(f);
    if (ENDS.includes(type))
      this.closed.set(c, this.tail);
  }

  // --- filling

  #fill() {
    if (this.state !== 'UP')
      return;
    if (this.kept.length > 0)
      this.#fillKept();
    if (this.resync.length > 0 && this.kept.length === 0)
      this.#fillResync();
    while (this.wants.length > 0 && this.isOpen && this.room > 0) {
      const c = this.wants.shift();
      c._wanted = false;
      if (!this.#serve(c) && this.#serveable(c)) {
        c._wanted = true;
        this.wants.unshift(c);
        break;
      }
    }
    const resumed = this.resuming && this.resync.length === 0 &&
      this.kept.length === 0;
    if (this.ping || !(resumed || this.#held >= PING_BYTES))
      return;
    this.ping = this.tail + HEADER_BYTES;
    this.resumed = resumed;
    this.#put({ type: Type.PING, flags: resumed ? RESUMED : 0,
      group: this.group, offset: BigInt(this.ping) });
  }

  #fillKept() {
    while (this.kept.length > 0) {
      const f = this.kept.first;
      if (this.core.conns.has(f.conn)) {
        if (f.payload.length > this.sendCredit || this.#held >= OUT_SOFT)
          return;
        this.sendCredit -= f.payload.length;
        this.#put({ ...f, group: this.group });
      }
      this.kept.shift();
    }
    for (const [c, at] of this.closed)
      if (at === null)
        this.closed.set(c, this.tail);
  }

  /** Says of each connection that we hold how far it is. */
  #fillResync() {
    while (this.resync.length > 0 && this.#held < OUT_SOFT) {
      const c = this.resync.first;
      if (c._link === this && !c._gone && !this.closed.has(c))
        this.#reply(c, 0, NOTHING);
      this.resync.shift();
    }
  }

  // --- bytes in

  /**
   * What came. FrameError is thrown when the stream is to be closed: as the
   * other side wants it when it is a RefusedError, else tell it why by
   * errorFrame().
   */
  feed(data) {
    this.reader.feed(data);
    for (let f; (f = this.reader.next()) !== null;)
      this.#frame(f);
    if (this.wants.length > 0)
      this.core.onOutput(this);
  }

  /** The last thing to say on a stream. */
  static errorFrame(error) {
    return frames.encode({ type: Type.ERROR, flags: frames.FATAL,
      aux: error.errno ?? constants.errno.EPROTO,
      payload: Buffer.from(error.reason).subarray(0, 1024) });
  }

  #frame(f) {
    if (this.state !== 'UP' && !HANDSHAKE.includes(f.type))
      throw protocolError(`${typeName(f.type)} before ATTACHED`);
    switch (f.type) {
      case Type.HELLO: return this.#onHello(f);
      case Type.ATTACH:
      case Type.ATTACHED: return this.#onAttach(f);
      case Type.ERROR: return this.#onError(f);
      case Type.OPEN: return this.#onOpen(f);
      case Type.DATA: return this.#onData(f);
      case Type.EOF: return this.#onEof(f);
      case Type.RESET: return this.#onReset(f);
      case Type.DRAIN: return this.#onDrain();
      case Type.CREDIT: return this.#onCredit(f);
      case Type.PING: return this.#onPing(f);
      case Type.PONG: return this.#onPong(f);
      default: return undefined;
    }
  }

  #hello() {
    this.resumes = this.wasUp ||
      (this.core.listens && this.core.predecessor(this) !== undefined);
    this.#put({ type: Type.HELLO, payload: frames.encodeHello({
      flags: this.resumes ? frames.HELLO_RESUMES : 0,
      worker: this.worker ?? frames.WORKER_ANY,
      stream_credit: this.core.creditBytes, instance: this.core.instance,
      pid: process.pid, name: this.core.name }) });
  }

  #onHello(f) {
    if (this.state !== 'HELLO')
      throw protocolError('HELLO twice');
    const hello = frames.decodeHello(f.payload);
    frames.checkHello(hello, Side.BACKEND);
    if (!(hello.flags & frames.HELLO_RESUME))
      throw protocolError("this xtcpd can't resume, too old for us");
    this.maxPayload = Math.min(hello.max_payload, frames.PAYLOAD_MAX);
    this.half = Math.floor(hello.conn_window / 2);
    this.sendCredit = hello.stream_credit;
    this.state = 'ATTACH';
    if (this.core.listens) {
      this.#setEpoch(hello.epoch);
      this.worker = hello.worker;
      this.#hello();
      return;
    }
    if (hello.worker >= hello.workers || hello.workers > frames.WORKERS_MAX)
      throw protocolError(`worker ${hello.worker} of ${hello.workers}`);
    if (this.worker !== null && this.worker !== hello.worker)
      throw protocolError(`worker ${hello.worker}, not ${this.worker}`);
    this.#setEpoch(hello.epoch);
    this.worker = hello.worker;
    if (this.core.workers !== hello.workers) {
      this.core.workers = hello.workers;
      this.core.onWorkers(hello.workers);
    }
    this.#put({ type: Type.ATTACH, payload: frames.encodeAttach({
      port: this.core.port, family: this.core.family,
      flags: this.core.poolBytes ? frames.ATTACH_OWN_POOL : 0,
      pool_bytes: BigInt(this.core.poolBytes) }) });
  }

  /**
   * xtcpd's ids are those of that epoch (0: it doesn't say): ours of another
   * one mean nothing any more.
   */
  #setEpoch(epoch) {
    if (this.wasUp && this.epoch && epoch && this.epoch !== epoch)
      this.#forget();
    if (epoch)
      this.epoch = epoch;
  }

  #onAttach(f) {
    const wanted = this.core.listens ? Type.ATTACH : Type.ATTACHED;
    if (this.state !== 'ATTACH' || f.type !== wanted)
      throw protocolError(`${typeName(f.type)} out of turn`);
    this.group = f.group;
    if (this.core.listens) {
      this.core.port = frames.decodeAttach(f.payload).port;
      this.#takeOver();
      this.#put({ type: Type.ATTACHED, group: f.group, payload: f.payload });
    }
    this.state = 'UP';
    if (this.resumes) {
      this.resuming = true;
      for (const c of this.core.connsOf(this))
        if (!c._waits && !this.closed.has(c))
          this.resync.push(c);
    }
    this.wasUp = true;
    this.core.onOutput(this);
  }

  /** Where xtcpd dials: what waits of the lost stream before this one. */
  #takeOver() {
    const old = this.resumes ? this.core.predecessor(this) : undefined;
    if (old === undefined)
      return;
    const epoch = this.epoch;
    this.epoch = old.epoch;
    this.wasUp = true;
    [this.kept, old.kept] = [old.kept, new Queue()];
    [this.closed, old.closed] = [old.closed, new Map()];
    [this.wants, old.wants] = [old.wants, new Queue()];
    for (const c of this.core.connsOf(old))
      c._link = this;
    this.core.links.splice(this.core.links.indexOf(old), 1);
    this.#setEpoch(epoch);
  }

  #onError(f) {
    if (this.state === 'UP' && !(f.flags & frames.FATAL))
      return;
    const code = f.aux >= 1 && f.aux <= 4095
      ? frames.errorCode(f.aux) : 'EPROTO';
    const error = new RefusedError(code,
      f.payload.toString() || 'no reason given');
    error.errno = f.aux || constants.errno.EPROTO;
    throw error;
  }

  // --- connections

  /**
   * The connection of OPEN, DATA or EOF, null when the frame is to be dropped,
   * and the payload behind the introduction.
   */
  #introduced(f) {
    if (f.conn === 0n)
      throw protocolError(`${typeName(f.type)} of no connection`);
    let c = this.core.conns.get(f.conn);
    let data = f.payload;
    if (f.flags & FIRST || f.type === Type.OPEN) {
      c = this.#introduce(f, frames.decodeAddr(f.payload));
      data = data.subarray(frames.ADDR_BYTES);
    }
    return { c: c === undefined || c._closed ? null : c, data };
  }

  /** Nobody has acknowledged or replied in our stead meanwhile. */
  #isSame(c, addr, offset, sent) {
    return c.remote.port === addr.remote_port &&
      c.remote.address === frames.hostText(addr.family, addr.remote) &&
      offset <= c._received && sent <= c._sentOut;
  }

  #introduce(f, addr) {
    const offset = position(f.offset);
    const una = position(addr.send_offset);
    let c = this.core.conns.get(f.conn);
    if (c?._closed)
      return c;
    if (c !== undefined && !this.#isSame(c, addr, offset, una + f.aux)) {
      this.core.lose(c);
      c = undefined;
    }
    if (c === undefined) {
      c = new Conn(this, f.conn, addr, offset, una + f.aux);
      this.core.conns.set(f.conn, c);
      c._waits = f.type === Type.OPEN && (f.flags & frames.WAITS) !== 0;
    }
    if (c._link !== this) {
      c._link.unwant(c);
      c._link = this;
    }
    this.#raiseLimit(c, (Math.floor(una / this.half) + 2) * this.half);
    return c;
  }

  #raiseLimit(c, limit) {
    c._limit = Math.max(c._limit, limit);
    this.want(c);
  }

  #onOpen(f) {
    const { c } = this.#introduced(f);
    if (c === null)
      return;
    if (f.flags & frames.WAITS && !c._waits) {
      // our answer was lost
      c._unsent.unshift({ type: Type.ACCEPT, data: NOTHING, ackd: 0 });
      this.want(c);
    }
    this.core.tell(c);
  }

  #onData(f) {
    const { c, data } = this.#introduced(f);
    if (c === null) {
      this.grant(f.payload.length, this.life);
      return;
    }
    const offset = position(f.offset);
    const have = c._received - offset;
    if (have < 0)
      throw protocolError(`${-have} bytes are missing before DATA`);
    if (offset < c._ackedOut && this.isOpen)
      this.#reply(c, 0, NOTHING); // an acknowledgement of ours got lost
    const fresh = data.subarray(have);
    this.grant(f.payload.length - fresh.length, this.life);
    this.core.tell(c);
    if (fresh.length === 0)
      return;
    if (c._eof)
      throw protocolError('DATA after EOF');
    c._credited(this, fresh.length);
    c._rx.append(fresh);
    if (f.flags & frames.REDELIVERED)
      c._redelivered = Math.max(c._redelivered, offset + data.length);
    c._skip();
    this.core.tell(c);
  }

  #onEof(f) {
    const { c } = this.#introduced(f);
    if (c === null)
      return;
    if (position(f.offset) !== c._received)
      throw protocolError("EOF where the data doesn't end");
    if (c._eof)
      return;
    c._eof = c._eofDue = true;
    this.core.tell(c);
  }

  #onReset(f) {
    const c = this.core.conns.get(f.conn);
    if (c === undefined)
      return;
    c._link.closed.delete(c);
    this.core.lose(c, f.aux);
  }

  #onCredit(f) {
    if (f.conn === 0n) {
      this.sendCredit += f.aux;
      if (this.sendCredit > SEND_CREDIT_MAX)
        throw protocolError('credit without end');
      return;
    }
    const c = this.core.conns.get(f.conn);
    if (c !== undefined)
      this.#raiseLimit(c, position(f.offset));
  }

  #onDrain() {
    if (this.drained)
      return;
    this.drained = true;
    this.core.ready.push({ type: 'drain', worker: this.worker ?? 0 });
    this.core.onEvents();
  }

  #onPing(f) {
    this.#put({ type: Type.PONG, group: this.group, offset: f.offset });
  }

  #onPong(f) {
    if (!this.ping || f.offset !== BigInt(this.ping))
      throw protocolError('PONG to no PING');
    const pos = this.ping;
    this.ping = 0;
    if (this.resumed)
      this.resuming = this.resumed = false;
    while (this.out.length > 0 && this.out.first.end <= pos)
      this.out.shift();
    this.base = pos;
    this.#releaseClosed(pos);
    this.core.onOutput(this);
  }

  /** Forgets who was closed by frames up to pos; Infinity: all. */
  #releaseClosed(pos) {
    for (const [c, at] of this.closed) {
      if ((at ?? Infinity) > pos)
        break;
      this.closed.delete(c);
      this.core.conns.delete(c.id);
    }
  }
}
