// The page in Chinese: each English sentence of the page's modules and what stands for it, by feature.
// tests/page_js/i18n.test.mjs holds that none is missing and that the places in both are the same.

export default {
  // conversation
  "Conversation": "对话",
  "To the newest": "到最新处",
  "Question": "问题",
  "Answer": "回答",
  "Edit": "编辑",
  "Delete": "删除",
  "Copy": "复制",
  "Retry": "重试",
  "Regenerate": "重新生成",
  "Versions": "版本",
  "Version before": "上一个版本",
  "Version after": "下一个版本",
  "Image {number}: {name}": "图片 {number}：{name}",
  "Enlarge {name}": "放大 {name}",
  "{name} is no longer in this browser.": "{name} 已不在这个浏览器里。",
  "{name} with {names} marked": "{name}，标出了 {names}",
  "boxes": "方框",
  "Waiting for a turn": "等待轮到",
  "These words couldn't be read any more.": "这些文字已无法读取。",
  "Seconds into the clip: {times}": "视频中的秒数：{times}",

  // what is read out
  "The answer is on its way.": "正在准备回答。",
  "There is no answer.": "没有回答。",
  "Answer: {text}": "回答：{text}",
  "Answer, its beginning: {text}": "回答的开头：{text}",

  // figures
  "{count} visual tokens": "{count} 个视觉 token",
  "first token {time}": "首个 token {time}",
  "{pace} tokens/s": "每秒 {pace} token",
  "{count} tokens": "{count} 个 token",
  "{count} s": "{count} 秒",
  "{minutes} min {seconds} s": "{minutes} 分 {seconds} 秒",
  "Thinking": "正在思考",
  "Thought": "已思考",
  "done": "完成",
  "reached the limit of new tokens": "达到新 token 上限",
  "stopped": "已停止",
  "cut off": "被中断",
  "without the oldest question, to fit": "为放得下，去掉了最早的问题",
  "without the {count} oldest questions, to fit": "为放得下，去掉了最早的 {count} 个问题",
  "1 frame at {times} s": "1 帧，第 {times} 秒",
  "{count} frames at {times} s": "{count} 帧，第 {times} 秒",

  // the box
  "Ask": "提问",
  "Stop": "停止",
  "Ask about {subject}": "问问{subject}",
  "Ask about {subject}…": "问问{subject}……",
  "Your question": "你的问题",
  "Files to attach": "要附上的文件",
  "Attach pictures, a clip or a PDF": "附上图片、视频或 PDF",
  "Remove {name}": "移除 {name}",
  "Uploading {name}": "正在上传 {name}",
  "Cancel edit": "取消编辑",
  "Editing a question. Asking it makes another version of it.": "正在编辑一个问题。提问后会成为它的另一个版本。",
  "That is more text than fits: at most {most} characters, please.": "文字太多：最多 {most} 个字符。",
  "Sending {name}": "正在发送 {name}",
  "Sending file {number} of {count}": "正在发送第 {number} 个文件，共 {count} 个",
  "“{name}” is no longer in this browser: edit the question that has it, and attach it again.": "“{name}”已不在这个浏览器里：请编辑带有它的问题，并重新附上。",

  // the empty page
  "Earlier": "较早的对话",

  // the connection, and what is kept
  "There is no connection to the server just now.": "现在连接不上服务器。",
  "There is no connection to the server just now: the question waits here until there is.": "现在连接不上服务器：问题会留在这里，直到恢复连接。",
  "The server couldn't answer: try again.": "服务器无法回答：请重试。",
  "This page was updated: reload to get the new one. Nothing is lost.": "页面已更新：请重新加载以获取新版本。不会丢失任何内容。",
  "This window keeps nothing: what is said here is gone once it closes.": "这个窗口不保存任何内容：关闭后对话就没有了。",
  "This browser's conversations were kept by a newer version of this page: they are left as they are, and what is said now isn't kept.":
    "这个浏览器里的对话由本页面的更新版本保存：它们保持原样，现在的对话不会保存。",
  "This browser has no room left for this page: what is said from now on is gone once the tab closes. Delete conversations, or make room on the disk.":
    "浏览器已没有空间留给本页面：从现在起的对话在标签页关闭后就没有了。请删除一些对话，或腾出磁盘空间。",
  "One part of what was kept couldn't be read and was left out.": "保存的内容中有一部分无法读取，已略去。",
  "{count} parts of what was kept couldn't be read and were left out.": "保存的内容中有 {count} 部分无法读取，已略去。",
};
