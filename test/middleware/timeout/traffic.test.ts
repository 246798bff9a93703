import test from 'ava'
import { Cio } from '../../../src/index.ts'
import { type Meter, type Traffic, meter } from '../../../middleware/timeout/traffic.ts'
import { nextEvent, open, transports } from '../../support/transports.ts'

const big = 32 * 1024 * 1024

for (const transport of transports) {
  test(`what the peer takes of one write shows before all of it is taken over ${transport}`, async (t) => {
    let gauge: Meter | undefined
    let done = false
    const piece = transport === 'memory' ? 16 * 1024 : big
    const app = new Cio().useConnection(async (ctx, next) => {
      gauge = meter(ctx)
      for (let written = 0; written < big; written += piece) {
        ctx.stream.write(Buffer.alloc(piece), () => (done = written + piece === big))
      }
      await next()
    })
    app.on('remoteError', () => {})
    const client = await open(t, app, transport)
    let size = 0
    const half = new Promise<Traffic>((resolve) => {
      client.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size < big / 4) return
        client.pause()
        resolve(gauge!.read())
      })
    })
    const { sent, waiting } = await half
    t.false(done)
    t.true(waiting)
    t.true(sent > 0)
    if (transport !== 'memory') t.true(sent >= big / 4 && sent < big, String(sent))
    const over = nextEvent(app, 'close')
    client.destroy()
    await over
  })

  test(`what the peer says shows over ${transport}`, async (t) => {
    const seen: Traffic[] = []
    const app = new Cio().useConnection(async (ctx) => {
      const gauge = meter(ctx)
      seen.push(gauge.read())
      ctx.stream.write('speak')
      for await (const chunk of ctx) {
        seen.push(gauge.read())
        ctx.stream.write(chunk)
      }
    })
    const client = await open(t, app, transport)
    const over = nextEvent(app, 'close')
    client.once('data', () => client.end('hello'))
    await over
    const [before, after] = seen
    t.like(before, { spoken: false, waiting: false, handshaking: false })
    t.like(after, { spoken: true, handshaking: false })
    t.true(after!.read > before!.read)
  })
}
