/** Tests that need `nats-server`: skipped aloud where it is missing. */

import anyTest, { type ExecutionContext } from 'ava'
import { natsServerPath } from './nats-server.ts'

/** As `test`, but skipped without the program. */
export function natsTest(title: string, run: (t: ExecutionContext) => Promise<void>): void {
  if (natsServerPath()) return anyTest(title, run)
  anyTest.skip(`${title} (no nats-server: apt-get install nats-server)`, run)
}
