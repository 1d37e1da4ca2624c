#!/usr/bin/env node
// SPDX-License-Identifier: BSD-2-Clause
/**
 * chat - an instant messaging room on xtcpd, to be copied from.
 *
 *	/nick NAME	change your name
 *	/who		who is here
 *	/quit		leave
 *	anything else	goes to all others as "<name> text"
 *
 * It keeps no half lines: the rest of a line that is on its way stays
 * unacknowledged, in conn.pending. The answer to a line carries the
 * acknowledgement of exactly that line. If this server dies, no line was lost:
 * xtcpd has every byte that wasn't processed, and gives it to the next
 * instance, as `redelivered`.
 *
 * Try it:	pool "chat" { group "im" { port = 5222 } }	in xtcpd.conf
 *		./chat.js -p 5222
 *		nc VIP 5222					twice
 */

import { appendFileSync } from 'node:fs';
import { parseArgs } from 'node:util';

import { dial, listen } from '../index.js'; // from 'xtcp', elsewhere

const LINE_MAX = 1024; // bytes of a line; who sends longer ones is cut off
const NICK_MAX = 31;

/** latin1 keeps each byte as it is. */
const text = (bytes) => Buffer.from(bytes).toString('latin1');
const bytes = (string) => Buffer.from(string, 'latin1');

/** Gone, or too slow: errors of connections have a code. */
function mustBeTheConnection(error) {
  if (error.code === undefined)
    throw error;
}

class Room {
  #nicks = new Map(); // by connection
  #guests = 0;
  #journal;

  constructor(journal) {
    this.#journal = journal;
  }

  /** Its name; whoever is heard for the first time becomes a member. */
  #member(conn) {
    if (!this.#nicks.has(conn))
      this.#nicks.set(conn, `guest${++this.#guests}`);
    return this.#nicks.get(conn);
  }

  /** Whoever doesn't keep up is cut off. */
  #sayToOthers(but, line) {
    for (const conn of [...this.#nicks.keys()]) {
      if (conn === but)
        continue;
      try {
        conn.push(bytes(line));
      } catch (e) {
        mustBeTheConnection(e);
        this.#nicks.delete(conn);
        conn.abort();
      }
    }
  }

  #leave(conn) {
    this.#sayToOthers(conn, `* ${this.#member(conn)} has left\n`);
    this.#nicks.delete(conn);
    conn.close();
  }

  /** One line of a member: the answer, and whether the member stays. */
  #line(conn, line) {
    const nick = this.#member(conn);
    if (line.startsWith('/nick ') && line.length > 6) {
      const fresh = line.slice(6, 6 + NICK_MAX);
      this.#sayToOthers(conn, `* ${nick} is now ${fresh}\n`);
      this.#nicks.set(conn, fresh);
      return [`* you are ${fresh}\n`, true];
    }
    if (line === '/who')
      return [[...this.#nicks.values()].map((n) => `* ${n}\n`).join(''), true];
    if (line === '/quit')
      return ['* bye\n', false];
    this.#sayToOthers(conn, `<${nick}> ${line}\n`);
    return ['', true];
  }

  /** Process the whole lines of what is pending, and acknowledge them. */
  #data(conn) {
    let stays = true;
    while (stays) {
      const pending = text(conn.pending);
      const end = pending.slice(0, LINE_MAX).indexOf('\n');
      if (end < 0) {
        stays = pending.length < LINE_MAX;
        break;
      }
      this.#note(conn, pending.slice(0, end));
      let answer;
      [answer, stays] = this.#line(
        conn, pending.slice(0, end).replace(/\r$/, ''));
      // This line is processed: its bytes go with the answer.
      conn.reply(bytes(answer), { ackd: end + 1 });
    }
    if (!stays)
      this.#leave(conn);
  }

  /** For who wants to know, in the end, what was processed twice. */
  #note(conn, line) {
    if (!this.#journal)
      return;
    // 64-bit numbers are more than JSON.stringify() can tell
    appendFileSync(this.#journal,
      `{"epoch": ${conn.epoch}, "conn": ${conn.id}, ` +
      `"offset": ${conn.offset}, ` +
      `"again": ${conn.offset < conn.redelivered}, ` +
      `"line": ${JSON.stringify(line)}}\n`);
  }

  event(event) {
    const { type, conn } = event;
    if (type === 'open') {
      if (event.waits)
        conn.accept();
      this.#sayToOthers(conn, `* ${this.#member(conn)} has joined\n`);
    } else if (type === 'data') {
      try {
        this.#data(conn);
      } catch (e) { // it doesn't keep up with the answers
        mustBeTheConnection(e);
        this.#leave(conn);
      }
    } else if ((type === 'eof' || type === 'reset') && this.#nicks.has(conn)) {
      this.#leave(conn);
    }
  }
}

const USAGE = 'usage: chat.js [-p PORT] [-l unix:PATH] [-j FILE]';
const HINTS = {
  ENOENT: 'is xtcpd running?',
  ECONNREFUSED: 'is xtcpd running?',
  EACCES: 'run as root, or as a member of the group of the socket',
};

async function main() {
  const { values } = parseArgs({ options: {
    help: { type: 'boolean', short: 'h' },
    port: { type: 'string', short: 'p', default: '5222' },
    listen: { type: 'string', short: 'l' }, // unix:PATH: xtcpd connects there
    journal: { type: 'string', short: 'j' }, // a file for processed lines
  } });
  const port = Number(values.port);

  if (values.help) {
    console.log(USAGE);
    return;
  }
  if (!(Number.isInteger(port) && port >= 1 && port <= 65535))
    throw new Error(`"${values.port}" is not a port: 1 to 65535; ${USAGE}`);
  const room = new Room(values.journal);
  const backend = values.listen
    ? await listen(values.listen) : await dial(port);

  for (const signal of ['SIGTERM', 'SIGINT'])
    process.once(signal, () => backend.close());
  for await (const event of backend)
    room.event(event);
}

main().catch((e) => {
  const hint = HINTS[e.code];

  console.error(`chat: ${e.message}${hint ? `: ${hint}` : ''}`);
  process.exitCode = 1;
});
