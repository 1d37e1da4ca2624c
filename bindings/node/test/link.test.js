// SPDX-License-Identifier: BSD-2-Clause
/** What a link says to an xtcpd that is scripted, and what it tells of it. */

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { CREDIT_BYTES } from '../lib/core.js';
import * as frames from '../lib/frames.js';
import {
  AT, FIRST, FrameError, REDELIVERED, Type, WAITS,
} from '../lib/frames.js';
import { SlowClientError } from '../lib/conn.js';
import { OUT_MAX, RefusedError } from '../lib/link.js';
import { addr, Daemon, WINDOW } from './fake.js';

const code = (wanted) => (e) => e.code === wanted;
const turn = () => new Promise((resolve) => { setImmediate(resolve); });

// --- the handshake

test('names port and pool', () => {
  const d = new Daemon({ family: 4, poolBytes: 1 << 20, name: 'me' }).begin();
  const hello = frames.decodeHello(d.expect(Type.HELLO).payload);
  assert.equal(hello.name.toString(), 'me');
  assert.deepEqual([hello.flags, hello.worker, hello.epoch],
    [0, frames.WORKER_ANY, 0n]);
  d.say(Type.HELLO, {}, d.ownHello());
  assert.deepEqual(
    frames.decodeAttach(d.expect(Type.ATTACH, { group: 0 }).payload),
    { port: 5222, family: 4, flags: frames.ATTACH_OWN_POOL, priority: 0,
      pool_bytes: 1n << 20n });
});

test('a link to each worker is wanted', () => {
  const d = new Daemon();
  const told = [];
  d.workers = 3;
  d.core.onWorkers = (n) => told.push(n);
  d.up(2);
  assert.deepEqual([told, d.link.worker], [[3], 2]);
});

test('another worker than before is refused', () => {
  const d = new Daemon();
  d.workers = 2;
  d.up(1).lose();
  d.begin(0);
  assert.equal(frames.decodeHello(d.expect(Type.HELLO).payload).worker, 1);
  assert.throws(() => d.say(Type.HELLO, {}, d.ownHello()), FrameError);
});

test('what is no xtcpd of ours is refused', () => {
  for (const bad of [{ magic: 1 }, { version: 2 }, { max_payload: 100 },
    { conn_window: 0 }, { flags: 0 }, { workers: 0 }, { workers: 257 },
    { worker: 1 }])
    assert.throws(() => {
      const d = new Daemon().begin();
      d.say(Type.HELLO, {}, d.ownHello(bad));
    }, code('EPROTO'), JSON.stringify(bad));
});

test("the daemon's error is told", () => {
  const d = new Daemon().begin();
  d.say(Type.HELLO, {}, d.ownHello());
  assert.throws(() => d.say(Type.ERROR, { flags: frames.FATAL, aux: 2 },
    'no such port'), (e) => e instanceof RefusedError &&
      e.code === 'ENOENT' && e.message === 'ENOENT: no such port');
});

// --- connections

test('open comes first', () => {
  const d = new Daemon().up();
  d.first(7, 'abc', { sent: 100, aux: 5 });
  const [open, data] = d.events();
  const { conn } = open;
  assert.deepEqual(open, { type: 'open', conn, waits: false });
  assert.deepEqual(data, { type: 'data', conn, data: Buffer.from('abc'),
    offset: 0, redelivered: false });
  assert.deepEqual([conn.id, conn.epoch, conn.sent, `${conn.pending}`],
    [7n, 77n, 105, 'abc']);
  assert.deepEqual(conn.remote, { address: '192.0.2.1', port: 1007 });
});

test('an IPv6 address', () => {
  const d = new Daemon().up();
  d.say(Type.OPEN, { conn: 7, flags: FIRST }, addr(7, 0, 6));
  assert.equal(d.events()[0].conn.remote.address, '::1');
});

test('a handshake waits for its answer', () => {
  for (const [answer, type] of [['accept', Type.ACCEPT],
    ['reject', Type.REJECT], ['close', Type.CLOSE], ['abort', Type.ABORT]]) {
    const d = new Daemon().up();
    d.open(5, WAITS);
    const [{ conn, waits }] = d.events();
    assert.ok(waits);
    assert.throws(() => conn.push('too early'), code('ENOTCONN'));
    conn[answer]();
    d.expect(type, { conn: 5 });
    d.quiet();
  }
});

test('what comes before the event is taken is one event', () => {
  const d = new Daemon().up();
  d.first(7, 'abc');
  d.data(7, 'def', 3);
  assert.deepEqual(d.told(), ['open 7', 'data 7 abcdef@0']);
  d.data(7, 'g', 6);
  const [{ conn, data, offset }] = d.events();
  assert.deepEqual([`${data}`, offset, `${conn.pending}`],
    ['g', 6, 'abcdefg']);
});

test('connections take turns', () => {
  const d = new Daemon().up();
  d.first(7, 'a');
  d.first(8, 'b');
  assert.deepEqual(d.told(),
    ['open 7', 'open 8', 'data 7 a@0', 'data 8 b@0']);
});

test('a reply carries acknowledgement and data', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abcdef');
  c.reply('hello', { ackd: 2 });
  c.reply('you', { ackd: 3 });
  d.expect(Type.REPLY, { conn: 7, flags: AT, offset: 0, ackd: 2, aux: 0,
    text: 'hello', group: 9 });
  d.expect(Type.REPLY, { conn: 7, offset: 2, ackd: 3, aux: 5, text: 'you' });
  assert.deepEqual([c.offset, `${c.pending}`, c.sent], [5, 'f', 8]);
  c.ack(1);
  d.expect(Type.REPLY, { offset: 5, ackd: 1, aux: 8, text: '' });
});

test('the caller may use its buffer again', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  const buffer = Buffer.from('hello');
  c.push(buffer);
  buffer.fill(0);
  d.expect(Type.REPLY, { text: 'hello' });
});

test('too much ackd does nothing', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  d.data(7, 'unseen', 3);
  for (const ackd of [4, -1, 0.5, NaN, '1'])
    assert.throws(() => c.reply('x', { ackd }), RangeError);
  d.quiet();
  assert.deepEqual([c.offset, c.sent], [0, 0]);
});

test('eof comes after the data', () => {
  const d = new Daemon().up();
  d.first(7, 'abc');
  d.say(Type.EOF, { conn: 7, offset: 3 });
  const [, , { type, conn, offset }] = d.events();
  assert.deepEqual([type, offset], ['eof', 3]);
  conn.reply('still', { ackd: 3 });
  conn.close();
  d.expect(Type.REPLY, { ackd: 3 });
  d.expect(Type.CLOSE, { conn: 7, flags: AT, aux: 5 });
});

test('a reset is told once', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  d.say(Type.RESET, { conn: 7, aux: 110 });
  assert.deepEqual(d.told(), ['reset 7 110']);
  assert.throws(() => c.push('x'), code('ECONNRESET'));
  c.close();
  d.quiet();
  assert.equal(d.core.conns.size, 0);
});

test('who was never told of goes silently', () => {
  const d = new Daemon().up();
  d.first(7, 'abc');
  d.say(Type.RESET, { conn: 7 });
  assert.deepEqual(d.told(), []);
});

test('close forgets and late frames are dropped', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  c.close();
  d.expect(Type.CLOSE, { conn: 7 });
  d.data(7, 'late', 3);
  assert.deepEqual(d.told(), []);
  assert.throws(() => c.push('x'), code('EBADF'));
  d.say(Type.RESET, { conn: 7 });
  assert.deepEqual([d.told(), d.core.conns.size], [[], 0]);
});

test('shutdown refuses data and still acknowledges', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  c.shutdown();
  c.shutdown();
  d.expect(Type.FIN, { conn: 7, flags: AT });
  assert.throws(() => c.reply('x', { ackd: 1 }), code('EPIPE'));
  c.ack(3);
  d.expect(Type.REPLY, { ackd: 3 });
  d.quiet();
});

test('drain is told once per stream', () => {
  const d = new Daemon().up();
  d.say(Type.DRAIN);
  d.say(Type.DRAIN);
  assert.deepEqual(d.told(), ['drain 0']);
});

test('a ping is answered', () => {
  const d = new Daemon().up();
  d.say(Type.PING, { offset: 42 });
  d.expect(Type.PONG, { offset: 42 });
});

test('done acknowledges and skips', () => {
  const d = new Daemon().up();
  d.first(7, 'abcdef');
  const c = d.core.nextEvent().conn;
  c.done(4);
  d.expect(Type.REPLY, { offset: 0, ackd: 4, text: '' });
  assert.deepEqual(d.told(), ['data 7 ef@4']);
  assert.equal(c.offset, 4);
  c.done(8);
  d.expect(Type.REPLY, { offset: 4, ackd: 2 });
  d.data(7, 'ghij', 6);
  d.expect(Type.REPLY, { offset: 6, ackd: 2 });
  assert.deepEqual(d.told(), ['data 7 ij@8']);
});

test('received bytes in many pieces stay in order', () => {
  const d = new Daemon().up();
  const c = d.client(7, '0,');
  let all = '0,';
  for (let i = 1; i < 2000; i++) {
    d.data(7, `${i},`, all.length);
    all += `${i},`;
    d.events();
    if (i % 7 === 0)
      c.ack(Math.min(11, all.length - c.offset));
    assert.equal(`${c.pending}`, all.slice(c.offset));
  }
});

// --- credit

test("replies stop at the connection's credit", () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  d.say(Type.CREDIT, { conn: 7, offset: 5 }); // takes nothing back
  c.reply(Buffer.alloc(WINDOW + 2000), { ackd: 3 });
  d.expect(Type.REPLY, { ackd: 0, bytes: WINDOW });
  assert.equal(c.buffered, 2000);
  d.confirm();
  d.say(Type.CREDIT, { conn: 7, offset: WINDOW + 500 });
  d.expect(Type.REPLY, { ackd: 0, aux: WINDOW, bytes: 500 });
  d.say(Type.CREDIT, { conn: 7, offset: 2 * WINDOW });
  // who acknowledged has sent the reply, whole
  d.expect(Type.REPLY, { offset: 0, ackd: 3, bytes: 1500 });
  assert.deepEqual([c.buffered, c.sent], [0, WINDOW + 2000]);
});

test('one slow connection stops no other', () => {
  const d = new Daemon().up();
  const a = d.client(7, 'a');
  const b = d.client(8, 'b');
  a.push(Buffer.alloc(WINDOW + 1));
  b.reply('hello', { ackd: 1 });
  d.expect(Type.REPLY, { conn: 7 });
  d.expect(Type.REPLY, { conn: 8, text: 'hello' });
});

test("replies stop at the stream's credit", () => {
  const d = new Daemon({ credit: 5000 }).up();
  const a = d.client(7, 'a');
  const b = d.client(8, 'b');
  a.reply(Buffer.alloc(4000), { ackd: 1 });
  b.reply(Buffer.alloc(4000), { ackd: 1 });
  d.expect(Type.REPLY, { conn: 7, ackd: 1 });
  d.expect(Type.REPLY, { conn: 8, ackd: 0, bytes: 1000 });
  d.quiet();
  d.say(Type.CREDIT, { aux: 10000 });
  d.expect(Type.REPLY, { conn: 8, ackd: 1, bytes: 3000 });
});

test('the buffer is bounded and who waits is told', async () => {
  const d = new Daemon({ bufferBytes: 1000 }).up();
  const c = d.client(7, 'abc');
  for (let i = 0; i < WINDOW / 512; i++)
    c.push(Buffer.alloc(512));
  c.push(Buffer.alloc(1000));
  assert.throws(() => c.reply('x', { ackd: 3 }), SlowClientError);
  assert.deepEqual([c.room, c.offset], [0, 0]);
  let woken = false;
  const waits = c.writable(600).then(() => { woken = true; });
  d.say(Type.CREDIT, { conn: 7, offset: WINDOW + 500 });
  await turn();
  assert.ok(!woken);
  d.say(Type.CREDIT, { conn: 7, offset: WINDOW + 600 });
  await waits;
  assert.equal(c.room, 600);
  const lost = c.writable(1000);
  d.say(Type.RESET, { conn: 7 });
  await assert.rejects(lost, code('ECONNRESET'));
});

test('a daemon that confirms nothing gets no more', () => {
  const d = new Daemon({ credit: 1 << 30 }).up();
  const conns = [];
  for (let i = 1; i < 40; i++)
    conns.push(d.client(i, 'x'));
  for (const c of conns)
    c.push(Buffer.alloc(60000));
  let sent = 0;
  let pings = 0;
  for (let f; (f = d.frame()) !== null;) {
    sent += f.payload.length;
    pings += f.type === Type.PING ? 1 : 0;
  }
  assert.ok(sent < 600_000);
  assert.equal(pings, 1);
  conns[0].ack(1); // waits, too
  d.quiet();
});

test('acknowledgements wait for room, too', () => {
  const d = new Daemon({ credit: 1 << 30 }).up();
  const conns = [];
  for (let i = 1; i < 10; i++)
    conns.push(d.client(i, 'x'));
  for (const c of conns.slice(0, 8))
    c.push(Buffer.alloc(60000));
  conns[8].push(Buffer.alloc(d.link.room));
  conns[0].ack(1);
  for (let i = 1; i < 10; i++)
    d.expect(Type.REPLY, { conn: i, ackd: 0 });
  const ping = d.expect(Type.PING);
  d.quiet();
  d.pong(ping);
  d.expect(Type.REPLY, { conn: 1, ackd: 1 });
});

test('an acknowledgement in the last room that there is', () => {
  const d = new Daemon({ credit: 1 << 30 }).up();
  const conns = [];
  for (let i = 1; i < 10; i++)
    conns.push(d.client(i, 'x'));
  for (const c of conns.slice(0, 8))
    c.push(Buffer.alloc(60000));
  conns[8].push(Buffer.alloc(d.link.room - 16));
  conns[0].ack(1);
  for (let i = 1; i < 10; i++)
    d.expect(Type.REPLY, { conn: i, ackd: 0 });
  d.expect(Type.REPLY, { conn: 1, ackd: 1 });
  d.expect(Type.PING);
  d.quiet();
});

test('credit is granted when the events are taken', () => {
  const d = new Daemon().up();
  let sent = 0;
  d.open(7);
  for (; sent < CREDIT_BYTES / 2; sent += 65536)
    d.data(7, Buffer.alloc(65536), sent);
  d.quiet();
  d.events();
  d.expect(Type.CREDIT, { conn: 0, aux: sent });
  d.quiet();
});

test('dropped bytes are granted too', () => {
  const d = new Daemon({ creditBytes: 4096 }).up();
  const c = d.client(7, 'x');
  d.data(7, Buffer.alloc(1500), 1);
  c.abort();
  d.expect(Type.ABORT);
  d.data(7, Buffer.alloc(1500), 1501);
  d.expect(Type.CREDIT, { conn: 0, aux: 48 + 1 + 3000 });
});

// --- hostile daemons

for (const [what, type, header, payload = ''] of [
  ['unknown type', 200, {}],
  ['wrong direction', Type.REPLY, { conn: 7 }],
  ['second HELLO', Type.HELLO, {}, Buffer.alloc(48)],
  ['second ATTACHED', Type.ATTACHED, {}, Buffer.alloc(24)],
  ['ATTACH to who dialled', Type.ATTACH, {}, Buffer.alloc(24)],
  ['empty DATA', Type.DATA, { conn: 7 }],
  ['DATA of no connection', Type.DATA, { offset: 3 }, 'x'],
  ['a gap', Type.DATA, { conn: 7, offset: 4 }, 'x'],
  ['the last position', Type.DATA, { conn: 7, offset: 2n ** 64n - 1n }, 'x'],
  ['FIRST without address', Type.DATA, { conn: 7, flags: FIRST },
    Buffer.alloc(47)],
  ['FIRST of no family', Type.DATA, { conn: 7, flags: FIRST },
    Buffer.alloc(60)],
  ['FIRST far away', Type.DATA, { conn: 8, flags: FIRST, offset: 2n ** 60n },
    Buffer.concat([addr(8), Buffer.from('x')])],
  ['OPEN of no family', Type.OPEN, { conn: 7 }, Buffer.alloc(48)],
  ['EOF beyond the data', Type.EOF, { conn: 7, offset: 4 }],
  ['EOF before the data', Type.EOF, { conn: 7, offset: 2 }],
  ['PONG to no PING', Type.PONG, {}],
  ['fatal ERROR', Type.ERROR, { flags: 8, aux: 5 }, 'x'],
  ['fatal ERROR without reason', Type.ERROR, { flags: 8 }],
])
  test(`${what} ends the stream`, () => {
    const d = new Daemon().up();
    d.client(7, 'abc');
    assert.throws(() => d.say(type, header, payload), FrameError);
    d.again();
    d.expect(Type.REPLY, { conn: 7 });
    d.resumed();
    d.first(7, 'abcdef', { flags: REDELIVERED });
    assert.deepEqual(d.told(), ['data 7 def@3 again']);
  });

test('data after eof ends the stream', () => {
  const d = new Daemon().up();
  d.client(7, 'abc');
  d.say(Type.EOF, { conn: 7, offset: 3 });
  assert.throws(() => d.data(7, 'more', 3), FrameError);
});

test('a PONG of another position', () => {
  const d = new Daemon().up();
  d.client(7, 'abc').push(Buffer.alloc(20000));
  d.expect(Type.REPLY);
  const ping = d.expect(Type.PING);
  assert.throws(() => d.say(Type.PONG, { offset: ping.offset + 1n }),
    FrameError);
});

test('credit without end', () => {
  const d = new Daemon().up();
  assert.throws(() => {
    for (let i = 0; i < 300; i++)
      d.say(Type.CREDIT, { aux: 2 ** 32 - 1 });
  }, FrameError);
});

test('pings without end and nothing read', () => {
  const d = new Daemon().up();
  d.link.tail = OUT_MAX - 100; // as if so much had been said
  for (let i = 0; i < 4; i++)
    d.say(Type.PING);
  assert.throws(() => d.link.take(), code('ENOBUFS'));
});

test('harmless oddities are ignored', () => {
  const d = new Daemon().up();
  const c = d.client(7, 'abc');
  d.say(Type.ERROR, { aux: 22 });
  d.say(Type.RESET, { conn: 4711 });
  d.say(Type.CREDIT, { conn: 4711, offset: 1 });
  d.say(Type.EOF, { conn: 4711, offset: 1 });
  d.data(4711, 'of a connection that nobody knows', 5);
  c.reply('x', { ackd: 3 });
  d.expect(Type.REPLY, { ackd: 3 });
});

/** Numbers below n, the same ones for a seed. */
function chance(seed) {
  let x = seed + 1;
  return (n) => {
    x = Math.imul(x, 1103515245) + 12345 | 0;
    return (x >>> 8) % n;
  };
}

test('random frames throw nothing else', () => {
  const types = [Type.OPEN, Type.DATA, Type.DATA, Type.DATA, Type.EOF,
    Type.PONG, Type.PING, Type.RESET, Type.CREDIT, Type.DRAIN];
  for (let seed = 0; seed < 60; seed++) {
    const rng = chance(seed);
    const d = new Daemon({ bufferBytes: 20 }).up();
    for (let i = 0; i < 200; i++) {
      const type = types[rng(types.length)];
      const header = { flags: rng(8), conn: rng(4), offset: rng(8),
        aux: rng(3) };
      let payload = addr(header.conn, rng(3));
      if (type === Type.DATA)
        payload = Buffer.concat([payload, Buffer.alloc(1 + header.offset)]);
      else if (type !== Type.OPEN && type !== Type.EOF)
        payload = '';
      try {
        d.say(type, header, payload);
      } catch (e) {
        assert.ok(e instanceof FrameError, `seed ${seed}: ${e.stack}`);
        d.again();
      }
      application(d, rng);
    }
  }
});

function application(d, rng) {
  d.link.take();
  const c = d.core.nextEvent()?.conn;
  if (c === undefined)
    return;
  const calls = ['accept', 'reject', 'close', 'abort', 'shutdown'];
  try {
    const call = rng(8);
    if (call < calls.length)
      c[calls[call]]();
    else if (call < 7)
      c.reply(Buffer.alloc(rng(9)), { ackd: rng(4) });
    else
      c.done(rng(9));
  } catch (e) {
    assert.ok(e.code !== undefined || e instanceof RangeError, e.stack);
  }
  assert.equal(c.buffered,
    c._unsent.reduce((sum, part) => sum + part.data.length, 0));
}
