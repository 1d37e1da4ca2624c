// SPDX-License-Identifier: BSD-2-Clause
/**
 * An xtcpd that does what the test says, at the other end of one Link.
 *
 * No socket: what the link wants to write is read by expect(), what the daemon
 * says goes in by say().
 */

import assert from 'node:assert/strict';

import { Core } from '../lib/core.js';
import * as frames from '../lib/frames.js';
import { FIRST, Reader, Side, Type, typeName } from '../lib/frames.js';
import { Link } from '../lib/link.js';

export const GROUP = 9;
export const WINDOW = 65536;
export const HALF = WINDOW / 2;

/** The client of a connection: 192.0.2.1 and a port of its own. */
export function addr(conn, sendOffset = 0, family = 4) {
  const remote = Buffer.alloc(16);
  if (family === 4)
    remote.set([192, 0, 2, 1]);
  else
    remote[15] = 1;
  return frames.encodeAddr({ family, remote_port: 1000 + Number(conn) % 1000,
    local_port: 5222, remote, local: Buffer.alloc(16),
    send_offset: BigInt(sendOffset) });
}

export class Daemon {
  constructor({ credit = 1 << 20, ...options } = {}) {
    this.core = new Core({ port: options.listens ? 0 : 5222, ...options });
    this.adopt(new Link(this.core));
    this.credit = credit;
    this.epoch = 77n;
    this.workers = 1;
    this.hello = null;
  }

  adopt(link) {
    this.link = link;
    this.core.links.push(link);
  }

  // --- frames

  say(type, header = {}, payload = '') {
    this.link.feed(frames.encode({
      group: GROUP, ...header, type, conn: BigInt(header.conn ?? 0),
      offset: BigInt(header.offset ?? 0), payload: Buffer.from(payload) }));
  }

  /** The next frame of the link, or null. */
  frame() {
    this.reader.feed(this.link.take());
    const f = this.reader.next();
    if (f !== null && f.type !== Type.HELLO && f.type !== Type.ATTACH)
      f.text = f.payload.length < 100 ? f.payload.toString() : '...';
    return f;
  }

  expect(type, want = {}) {
    const f = this.frame();
    assert.notEqual(f, null, `no frame; wanted ${typeName(type)}`);
    const got = { type: typeName(f.type) };
    for (const key of Object.keys(want))
      got[key] = key === 'bytes' ? f.payload.length
        : key === 'conn' || key === 'offset' ? Number(f[key]) : f[key];
    assert.deepEqual(got, { type: typeName(type), ...want });
    return f;
  }

  quiet() {
    const f = this.frame();
    assert.equal(f, null, f && `wanted no frame, got ${typeName(f.type)}`);
  }

  // --- the stream

  begin(worker = 0) {
    this.reader = new Reader(Side.XTCPD);
    this.link.begin();
    this.worker = worker;
    return this;
  }

  ownHello(other = {}) {
    return frames.encodeHello({
      flags: frames.HELLO_RESUME, workers: this.workers, worker: this.worker,
      stream_credit: this.credit, conn_window: WINDOW, instance: 5n,
      epoch: this.epoch, ...other });
  }

  /** The rest of the handshake. */
  attach() {
    const attach = frames.encodeAttach({ port: 5222 });
    const theirs = () => {
      this.hello = frames.decodeHello(this.expect(Type.HELLO).payload);
    };
    if (this.core.listens) {
      this.say(Type.HELLO, {}, this.ownHello());
      theirs();
      this.say(Type.ATTACH, {}, attach);
      this.expect(Type.ATTACHED, { group: GROUP });
    } else {
      theirs();
      this.say(Type.HELLO, {}, this.ownHello());
      this.expect(Type.ATTACH);
      this.say(Type.ATTACHED, {}, attach);
    }
    assert.equal(this.link.state, 'UP');
    return this;
  }

  up(worker = 0) {
    return this.begin(worker).attach();
  }

  lose() {
    this.link.lost();
  }

  /** The daemon was away, and is back. */
  again() {
    this.lose();
    return this.up();
  }

  pong(ping) {
    this.say(Type.PONG, { offset: ping.offset });
  }

  /** The resumption must end here; the PONG. */
  resumed() {
    this.pong(this.expect(Type.PING, { flags: frames.RESUMED }));
  }

  /** A PING, which is answered. */
  confirm() {
    this.pong(this.expect(Type.PING, { flags: 0 }));
  }

  // --- connections

  first(conn, text, { sent = 0, flags = 0, ...header } = {}) {
    this.say(Type.DATA, { conn, flags: FIRST | flags, ...header },
      Buffer.concat([addr(conn, sent), Buffer.from(text)]));
  }

  open(conn, flags = 0) {
    this.say(Type.OPEN, { conn, flags: FIRST | flags }, addr(conn));
  }

  data(conn, text, offset, flags = 0) {
    this.say(Type.DATA, { conn, offset, flags }, text);
  }

  /** All events, short: type, id, text, offset, redelivered. */
  events() {
    const found = [];
    for (let e; (e = this.core.nextEvent()) !== null;)
      found.push(e);
    return found;
  }

  told() {
    return this.events().map((e) => {
      const what = { data: () => `${e.data}@${e.offset}` +
        (e.redelivered ? ' again' : ''), eof: () => `@${e.offset}`,
      reset: () => `${e.errno}`, open: () => (e.waits ? 'waits' : ''),
      drain: () => `${e.worker}` }[e.type]();
      return `${e.type} ${e.conn?.id ?? ''} ${what}`.replace(/ +/g, ' ').trim();
    });
  }

  /** A new connection that has sent text, which was told of. */
  client(conn, text) {
    this.first(conn, text);
    const [, event] = this.events();
    assert.equal(event.data.toString(), text);
    return event.conn;
  }
}
