/** What a middleware puts on a context for what runs inside it. */

/**
 * Sets a member of the context, runs what is inside, and puts the member back that was there
 * before, whichever way the run ends. Where there was none, the new one stays: code that still holds
 * the context learns from it that the connection is over.
 */
export async function provide<Ctx extends object, Name extends keyof Ctx>(
  ctx: Ctx,
  name: Name,
  value: Ctx[Name],
  run: () => unknown,
): Promise<void> {
  // A member that is not there yet may throw when it is read, as `ctx.messages` does.
  const outer = Object.hasOwn(ctx, name) ? ctx[name] : undefined
  ctx[name] = value
  try {
    await run()
  } finally {
    ctx[name] = outer ?? value
  }
}
