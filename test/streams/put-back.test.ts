import test from 'ava'
import { once } from 'node:events'
import { Duplex } from 'node:stream'
import { putBack } from '../../src/streams/put-back.ts'

test('what is put back while data is emitted comes first, also from a source that pushes at once', async (t) => {
  const pieces = 'abcdef'.split('').map((one) => Buffer.from(one))
  const stream = new Duplex({
    read() {
      this.push(pieces.shift() ?? null)
    },
    write: (_chunk, _encoding, done) => done(),
  })
  const taken: string[] = []
  let count = 0
  stream.on('data', (chunk: Buffer) => {
    if (count++ % 2 > 0) {
      taken.push(String(chunk))
    } else {
      stream.pause()
      putBack(stream, chunk)
      setImmediate(() => stream.resume())
    }
  })
  await once(stream, 'end')
  t.is(taken.join(''), 'abcdef')
})
