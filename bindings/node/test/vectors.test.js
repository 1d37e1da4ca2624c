// SPDX-License-Identifier: BSD-2-Clause
/** tests/vectors/frames.txt of the tree: every case, both ways. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

import * as frames from '../lib/frames.js';
import { FIRST, FrameError, Reader, Type } from '../lib/frames.js';

const VECTORS = process.env.XTCP_VECTORS ?? fileURLToPath(
  new URL('../../../tests/vectors/frames.txt', import.meta.url));
const BIG = ['conn', 'offset', 'hello.instance', 'hello.epoch',
  'attach.pool_bytes', 'addr.send_offset'];

function setField(c, key, value) {
  if (key === 'bytes' || key === 'data')
    c[key] = Buffer.concat([c[key], Buffer.from(value, 'hex')]);
  else if (key === 'to')
    c.side = value;
  else if (key === 'max_payload')
    c.maxPayload = Number(value);
  else if (key === 'refuse')
    c.refuse = value;
  else if (key === 'type') {
    const [name, number] = value.split(' ');
    assert.equal(Type[name], Number(number));
    c.fields.type = Number(number);
  } else if (key === 'addr.remote' || key === 'addr.local')
    c.fields[key] = Buffer.from(value, 'hex');
  else
    c.fields[key] = BIG.includes(key) ? BigInt(value) : Number(value);
}

function readVectors() {
  const cases = [];
  const limits = [];
  for (const line of readFileSync(VECTORS, 'utf8').split('\n')) {
    const [, key, value] = /^\s*(\S*)\s*(.*)$/.exec(line);
    if (key === '' || key.startsWith('#') || key === 'end')
      continue;
    if (key === 'frame')
      cases.push({ name: value, bytes: Buffer.alloc(0), refuse: null,
        data: Buffer.alloc(0), maxPayload: frames.PAYLOAD_MAX, fields: {} });
    else if (key === 'limit')
      limits.push(value.split(' ').map(BigInt));
    else
      setField(cases[cases.length - 1], key, value);
  }
  return { cases, limits };
}

/** The fields of a part of the payload, or null when it has none. */
function part(c, prefix) {
  const found = Object.entries(c.fields)
    .filter(([key]) => key.startsWith(`${prefix}.`))
    .map(([key, value]) => [key.slice(prefix.length + 1), value]);
  return found.length > 0 ? Object.fromEntries(found) : null;
}

function payloadOf(c) {
  const [hello, attach, addr] =
    ['hello', 'attach', 'addr'].map((prefix) => part(c, prefix));
  if (hello)
    return frames.encodeHello({ ...hello, name: c.data });
  if (attach)
    return frames.encodeAttach(attach);
  return addr ? Buffer.concat([frames.encodeAddr(addr), c.data]) : c.data;
}

function headerOf(c) {
  const { type, flags, group, conn, offset, ackd, aux } = c.fields;
  return { type, flags, group, conn, offset, ackd, aux };
}

/** The frame of the bytes, fed in steps; null: not whole yet. */
function decode(c, step) {
  const reader = new Reader(c.side, c.maxPayload);
  let f = reader.next();
  for (let at = 0; at < c.bytes.length; at += step) {
    assert.equal(f, null);
    reader.feed(c.bytes.subarray(at, at + step));
    f = reader.next();
  }
  if (f?.type === Type.HELLO)
    frames.checkHello(frames.decodeHello(f.payload), c.side);
  else if (f !== null && (f.type === Type.OPEN || f.flags & FIRST))
    frames.decodeAddr(f.payload);
  return f;
}

const { cases, limits } = readVectors();

test('there are cases', () => {
  assert.ok(cases.filter((c) => c.refuse === null).length > 30);
  assert.ok(cases.filter((c) => c.refuse !== null).length > 30);
  assert.ok(limits.length > 5);
});

for (const c of cases)
  test(`vector ${c.name}`, () => {
    for (const step of [1, 31, 1 << 20]) {
      if (c.refuse === 'nothing-yet') {
        assert.equal(decode(c, step), null);
      } else if (c.refuse) {
        assert.throws(() => decode(c, step),
          (e) => e instanceof FrameError && e.code === c.refuse);
      } else {
        const { payload, ...header } = decode(c, step);
        assert.deepEqual(header, headerOf(c));
        assert.equal(payload.length, c.fields.length);
        assert.deepEqual(payload, payloadOf(c));
      }
    }
    if (c.refuse)
      return;
    assert.deepEqual(
      frames.encode({ ...headerOf(c), payload: payloadOf(c) }), c.bytes);
    const wire = payloadOf(c);
    const hello = part(c, 'hello');
    if (hello)
      assert.deepEqual(frames.decodeHello(wire), { ...hello, name: c.data });
    if (part(c, 'attach'))
      assert.deepEqual(frames.decodeAttach(wire), part(c, 'attach'));
    if (part(c, 'addr'))
      assert.deepEqual(frames.decodeAddr(wire), part(c, 'addr'));
  });

test('limits', () => {
  for (const [una, half, limit] of limits)
    assert.equal(frames.sendLimit(una, half), limit);
});

test('an error is for ever', () => {
  const reader = new Reader('backend');
  reader.feed(frames.encode({ type: 99 }));
  for (let i = 0; i < 2; i++) {
    assert.throws(() => reader.next(), FrameError);
    reader.feed(frames.encode({ type: Type.PING }));
  }
});

test('hosts as text', () => {
  for (const [family, hex, want] of [
    [4, 'c6336401', '198.51.100.1'],
    [6, '20010db8000000000000000000000010', '2001:db8::10'],
    [6, '00000000000000000000000000000001', '::1'],
    [6, '00000000000000000000000000000000', '::'],
  ])
    assert.equal(frames.hostText(
      family, Buffer.from(hex.padEnd(32, '0'), 'hex')), want);
});
