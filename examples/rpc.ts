// npx tsx examples/rpc.ts
//
// A JSON-RPC 2.0 service, one message a line, that also calls its client. Call it by hand:
// echo '{"jsonrpc":"2.0","id":1,"method":"add","params":[1,2]}' | socat - TCP:localhost:7003

import { setTimeout as delay } from 'node:timers/promises'
import { Cio, json, rpc, rpcError } from '../src/index.ts'

interface Service {
  add(params: [a: number, b: number]): number
  divide(params: [a: number, b: number]): number
  wait(params: [milliseconds: number]): string
}

interface Caller {
  whoAreYou(): string
}

const app = new Cio()
  .useConnection(json())
  .useConnection(
    rpc<Caller, Service>({
      methods: {
        add: ([a, b]) => a + b,
        divide([a, b]) {
          if (b === 0) throw rpcError(1, 'division by zero')
          return a / b
        },
        // The signal aborts when the caller cancels the call.
        wait: ([milliseconds], { signal }) => delay(milliseconds, 'done', { signal }),
      },
    }),
  )
  .useConnection(async (ctx, next) => {
    ctx.rpc.call('whoAreYou').then(
      (name) => console.log(`${name} came from ${ctx.remote}`),
      () => console.log(`a client came from ${ctx.remote}`),
    )
    await next()
  })

const server = await app.listen(process.env.PORT ?? 7003)
console.log(`a calculator on port ${server.port}`)
