// SPDX-License-Identifier: BSD-2-Clause
/** What an application in TypeScript writes: tsc must find nothing wrong. */

import {
  Backend, Conn, dial, Event, listen, RefusedError, SlowClientError,
} from 'xtcp';

function serve(event: Event): void {
  switch (event.type) {
    case 'open':
      if (event.waits)
        event.conn.accept();
      break;
    case 'data': {
      const offset: number = event.offset;
      const conn: Conn = event.conn;
      const id: bigint = conn.id;
      conn.user = { offset, id, again: event.redelivered };
      conn.reply(event.data, { ackd: conn.pending.length });
      break;
    }
    case 'eof':
      event.conn.push('bye');
      event.conn.close();
      break;
    case 'reset': {
      const errno: number = event.errno;
      void errno;
      break;
    }
    case 'drain': {
      const worker: number = event.worker;
      void worker;
      break;
    }
    default: {
      const nothing: never = event;
      void nothing;
    }
  }
}

export async function main(): Promise<void> {
  const backend: Backend = await dial(5222, { family: 4, poolBytes: 1 << 20 });
  const other = await listen('unix:/run/im/a.sock', { name: 'im' });
  for await (const event of backend) {
    try {
      serve(event);
    } catch (e) {
      if (e instanceof SlowClientError || e instanceof RefusedError)
        await event_conn(event)?.writable(1);
    }
  }
  await other.close();
}

function event_conn(event: Event): Conn | undefined {
  return event.type === 'drain' ? undefined : event.conn;
}

// @ts-expect-error: connections are made by the package
new Conn();
// @ts-expect-error: a port is a number
dial('5222');
// @ts-expect-error: where replies go on is not ours to say
(null as unknown as Conn).sent = 1;
