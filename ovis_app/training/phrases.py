"""How people ask about the drawn world and how mini answers, in English and Chinese, as rows of text.

Knows wordings only. Refuses to know scenes, tokens or what is true of a picture.
"""

from __future__ import annotations

from dataclasses import dataclass

from ovis_app.training.scenes import CELLS, COLORS, KINDS


@dataclass(frozen=True)
class Tongue:
    """One language: names, ways to ask (first of each is the plain one) and answer rows."""

    cells: dict[str, tuple[str, ...]]
    colors: dict[str, tuple[str, ...]]
    kinds: dict[str, tuple[str, ...]]
    ways: dict[str, tuple[str, ...]]
    asks: dict[str, tuple[str, ...]]
    answers: dict[str, str]


def _row(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split("|"))


def _named(keys: tuple[str, ...], text: str) -> dict[str, tuple[str, ...]]:
    return {key: _row(row) for key, row in zip(keys, text.strip().split("\n"), strict=True)}


ENGLISH = Tongue(
    cells=_named(
        CELLS,
        """top left|upper left|top left corner|upper left corner
top|top|top center|top middle|upper middle
top right|upper right|top right corner|upper right corner
left|left|middle left|left side|center left
center|center|middle
right|right|middle right|right side|center right
bottom left|lower left|bottom left corner|lower left corner
bottom|bottom|bottom center|bottom middle|lower middle
bottom right|lower right|bottom right corner|lower right corner""",
    ),
    colors={name: (name,) for name in COLORS},
    kinds={name: (name,) for name in KINDS},
    ways={
        "right": ("from left to right", "left to right"),
        "left": ("from right to left", "right to left"),
        "down": ("from top to bottom", "top to bottom"),
        "up": ("from bottom to top", "bottom to top"),
    },
    asks={
        "describe": _row(
            "Describe the image.|What is in the picture?|What is in the image?|What do you see?|Describe this picture."
            "|What does the image show?|Please describe the image.|What can you see in this image?|Describe what you see."
            "|What is shown in the picture?|Tell me about this image.|What's in this picture?|What's in the image?"
            "|Can you describe this image?|Describe the picture in detail.|What is this?|Describe the image in one sentence."
            "|What does this picture show?|Give a description of the image.|List the shapes in the image."
            "|What shapes are in the image?|Which shapes do you see?|What shapes are there?|What objects are in the picture?"
        ),
        "count": _row(
            "How many shapes are there?|How many shapes are in the image?|How many shapes do you see?|Count the shapes."
            "|How many shapes can you see?|What is the number of shapes?|How many objects are there?|Please count the shapes."
            "|How many shapes are in the picture?|How many figures are there?|How many shapes does the image have?"
            "|Tell me how many shapes there are.|How many shapes are shown?|How many objects are in the picture?"
            "|How many shapes are there in total?|How many things are in the image?|Can you count the shapes?"
        ),
        "count_of": _row(
            "How many {name}s are there?|How many {name}s do you see?|Count the {name}s.|How many {name}s are in the image?"
            "|How many {name}s can you see?|How many {name}s are in the picture?|What is the number of {name}s?"
        ),
        "at": _row(
            "What is at the {cell}?|What is in the {cell}?|What do you see at the {cell}?|What's at the {cell}?"
            "|Which shape is at the {cell}?|What shape is at the {cell}?|What shape is in the {cell}?|What is on the {cell}?"
            "|Is there anything at the {cell}?|What object is at the {cell}?|Which shape is in the {cell}?"
            "|What is at the {cell} of the image?|What is in the {cell} of the picture?|Tell me what is at the {cell}."
        ),
        "color": _row(
            "What color is the {kind}?|What is the color of the {kind}?|Which color is the {kind}?|What colour is the {kind}?"
            "|Tell me the color of the {kind}.|What color does the {kind} have?|Name the color of the {kind}."
            "|Which color does the {kind} have?|The {kind} is what color?"
        ),
        "shape_of": _row(
            "What shape is {color}?|Which shape is {color}?|What is {color}?|Which object is {color}?|What is the {color} shape?"
        ),
        "exists": _row(
            "Is there {a_name}?|Do you see {a_name}?|Is there {a_name} in the image?|Does the image have {a_name}?"
            "|Can you see {a_name}?|Is there {a_name} in the picture?|Does the picture show {a_name}?"
            "|Does the image contain {a_name}?|Are there any {name}s?"
        ),
        "where": _row(
            "Where is the {name}?|Where is the {name} in the image?|What is the position of the {name}?"
            "|Where can you see the {name}?|Where do you see the {name}?|In which part of the image is the {name}?"
            "|Where is the {name} located?|Where's the {name}?"
        ),
        "box": _row(
            "Where is the <ref>{name}</ref>? Please provide the bounding box coordinates."
            "|Find the <ref>{name}</ref>. Please provide the bounding box coordinates."
            "|Locate the <ref>{name}</ref> in the image. Please provide the bounding box coordinates."
            "|Find the <ref>{name}</ref> in the image. Please provide the bounding box coordinates."
            "|<ref>{name}</ref> Please provide the bounding box coordinates."
            "|Where is the {name}? Please provide the bounding box coordinates."
            "|Detect the <ref>{name}</ref>. Please provide the bounding box coordinates."
            "|What is the bounding box of the <ref>{name}</ref>?|Give the bounding box of the {name}."
        ),
        "text": _row(
            "What does the text say?|Read the text.|What text is in the image?|What is written in the image?|What word is this?"
            "|What does it say?|Read the word.|Please read the text in the image.|What is written here?|Which word do you see?"
            "|What is the text in the picture?|What does the image say?|Transcribe the text.|What word is in the picture?"
            "|Can you read the text?|What is the word?|What letters do you see?"
        ),
        "in_image": _row(
            "What is in image {n}?|Describe image {n}.|What does image {n} show?|What do you see in image {n}?"
            "|What is in picture {n}?|What's in image {n}?|Describe picture {n}.|What is shown in image {n}?"
            "|What is in the {ordinal} image?|Describe the {ordinal} image.|What does the {ordinal} picture show?"
        ),
        "in_all": _row(
            "Describe the images.|What is in the pictures?|What do the images show?|Describe each image.|What do you see?"
            "|Describe all images.|What is in the images?"
        ),
        "count_in": _row(
            "How many shapes are in image {n}?|How many shapes are there in image {n}?|Count the shapes in image {n}."
            "|How many shapes does image {n} have?|How many shapes are in the {ordinal} image?"
            "|How many shapes do you see in image {n}?"
        ),
        "at_in": _row(
            "What is at the {cell} of image {n}?|What is at the {cell} in image {n}?|In image {n}, what is at the {cell}?"
            "|Which shape is at the {cell} of image {n}?|What is at the {cell} of the {ordinal} image?"
        ),
        "color_in": _row(
            "What color is the {kind} in image {n}?|What is the color of the {kind} in image {n}?"
            "|In image {n}, what color is the {kind}?"
        ),
        "more": _row(
            "Which image has more shapes?|Which image has the most shapes?|Which picture has more shapes?"
            "|Which image shows more shapes?|Which of the images has more shapes?|Which picture has the most shapes?"
            "|In which image are there more shapes?|Which image contains more shapes?"
        ),
        "which": _row(
            "In which image is the {name}?|Which image has the {name}?|Which image shows the {name}?"
            "|In which picture is the {name}?|Which image contains {a_name}?|Where is the {name}, in which image?"
            "|Which image has {a_name}?|Which picture shows the {name}?"
        ),
        "images": _row(
            "How many images are there?|How many pictures do you see?|How many images did I send?|How many images do you see?"
        ),
        "happens": _row(
            "What happens in the video?|Describe the video.|What is happening in the video?|What happens?|What do you see?"
            "|What does the video show?|What happens in this clip?|Describe the clip.|Describe what happens.|What is in the video?"
            "|What can you see in the video?|Please describe the video.|What is going on in the video?"
        ),
        "way": _row(
            "Which way does it move?|In which direction does it move?|Which way does the shape move?|How does it move?"
            "|What direction does the shape move in?|In which direction does the {kind} move?|Which way does the {kind} move?"
            "|Where does it go?|How does the {kind} move?|In what direction is the {kind} moving?|Which way is it moving?"
        ),
        "moves": _row("Does it move?|Is the shape moving?|Is it moving?|Does the {kind} move?|Does it stand still?"),
        "clip_color": _row(
            "What color is it?|What color is the shape?|What color is the {kind}?|Which color is the moving shape?"
            "|What is the color of the shape in the video?"
        ),
        "clip_kind": _row("What shape is it?|Which shape is in the video?|What kind of shape is it?|What shape do you see?"),
        "same_color": _row("And its color?|What color is it?|And what color is it?|Which color does it have?"),
        "same_kind": _row("And its shape?|What shape is it?|And what shape is it?|Which shape is it?"),
        "same_where": _row("And where is it?|Where is it?|And its position?|Where is that?"),
        "same_box": _row("Please provide the bounding box coordinates.|And its bounding box?|Give its bounding box."),
        "next_kind": _row("What about the {kind}?|And the {kind}?|And what about the {kind}?"),
        "next_name": _row("What about the {name}?|And the {name}?|And what about the {name}?"),
        "next_exists": _row("And {a_name}?|What about {a_name}?|Or {a_name}?"),
        "next_at": _row("And at the {cell}?|What about the {cell}?|And in the {cell}?|And the {cell}?"),
        "next_image": _row("What about image {n}?|And image {n}?|And in image {n}?|And what about image {n}?"),
        "they": _row("What are they?|Which ones?|Which shapes are they?|Name them."),
        "length": _row("How many letters does it have?|How many characters are there?|How long is it?|How many characters is that?"),
        "first": _row(
            "What did I ask first?|What was my first question?|What did I ask you first?|Which question did I ask first?"
            "|Do you remember my first question?"
        ),
        "sure": _row("Are you sure?|Really?|Is that right?|Are you certain?"),
        "thanks": _row("Thanks|Thank you!|Thanks!|Thank you|Thank you very much.|Great, thanks!"),
    },
    answers={
        "describe": "The image shows {things}.", "thing": "{a_name} at the {cell}", "a_text": 'the text "{text}"',
        "count": "There are {n} shapes.", "count_one": "There is 1 shape.", "count_none": "There are no shapes.",
        "count_of": "There are {n} {name}s.", "count_of_one": "There is 1 {name}.", "count_of_none": "There is no {name}.",
        "at": "It is {a_name}.", "at_none": "There is nothing at the {cell}.",
        "color": "The {kind} is {color}.", "color_many": "The {kind}s are {colors}.", "none": "There is no {name}.",
        "shape_of": "The {color} shape is {a_kind}.", "shape_of_many": "The {color} shapes are {kinds}.",
        "shape_of_none": "There is no {color} shape.",
        "yes": "Yes, there is {a_name} at the {cell}.", "yes_many": "Yes, there are {n} {name}s.",
        "no": "No, there is no {name}.",
        "where": "The {name} is at the {cell}.", "where_many": "The {name}s are at the {cells}.",
        "text": 'The text says "{text}".', "text_none": "There is no text in the image.",
        "in_image": "Image {n} shows {things}.",
        "count_in": "There are {count} shapes in image {n}.", "count_in_one": "There is 1 shape in image {n}.",
        "at_none_in": "There is nothing at the {cell} of image {n}.",
        "more": "Image {n} has more shapes: {high} against {low}.", "most": "Image {n} has the most shapes: {high}.",
        "same": "They have the same number of shapes: {high}.", "same_top": "Images {names} have the most shapes: {high}.",
        "which": "The {name} is in image {n}.", "which_many": "The {name} is in images {names}.",
        "which_none": "There is no {name} in the images.",
        "images": "There are {n} images.",
        "moves": "{A_name} moves {way}.", "still": "{A_name} stands still.",
        "yes_moves": "Yes, it moves {way}.", "no_moves": "No, it stands still.", "yes_still": "Yes, it stands still.",
        "no_still": "No, it moves {way}.",
        "it_color": "It is {color}.", "it_kind": "It is {a_kind}.", "it_where": "It is at the {cell}.",
        "they": "They are {names}.", "it": "It is {names}.",
        "length": "It has {n} characters.", "length_one": "It has 1 character.",
        "first": 'You first asked: "{question}"', "sure": "Yes. {answer}", "welcome": "You are welcome.",
        "think_scene": "I look row by row. {seen}", "seen": "{Cell}: {name}.", "total": "That makes {n}.",
        "seen_nothing": "I see no shapes.",
        "think_text": 'I read the letters one by one: {letters}.', "think_image": "Image {n}: {names}. That makes {count}.",
        "think_clip": "I follow the shape from frame to frame. It is {a_name}. {moves}",
        "it_moves": "It moves {way}.", "it_still": "It stands still.",
        "and": " and ", "comma": ", ",
    },
)  # fmt: skip

CHINESE = Tongue(
    cells=_named(
        CELLS,
        """左上角|左上方|左上
上方|上面|上边|正上方
右上角|右上方|右上
左边|左侧|左面|左方
中间|中央|正中间|中心
右边|右侧|右面|右方
左下角|左下方|左下
下方|下面|下边|正下方
右下角|右下方|右下""",
    ),
    colors=_named(tuple(COLORS), "红色|红\n绿色|绿\n蓝色|蓝\n黄色|黄\n紫色|紫\n橙色|橙\n黑色|黑\n白色|白"),
    kinds=_named(KINDS, "圆形|圆\n正方形|方形|方块\n三角形|三角形\n五角星|星形|星星"),
    ways={
        "right": ("从左向右", "从左向右"), "left": ("从右向左", "从右向左"),
        "down": ("从上向下", "从上向下"), "up": ("从下向上", "从下向上"),
    },
    asks={
        "describe": _row(
            "描述这张图片。|图中有什么？|图片里有什么？|请描述这张图片。|你看到了什么？|这张图里有什么？|描述一下图片。|请描述图片内容。"
            "|这是什么？|图片上有哪些形状？|图中有哪些形状？|这张图片显示了什么？|请详细描述图片。|描述图像。"
        ),
        "count": _row(
            "图中有几个形状？|有几个形状？|图片里有多少个形状？|一共有几个形状？|数一数有几个形状。|图中有多少个图形？|有多少个形状？"
            "|图片中有几个图形？|这张图里有几个形状？|请数一下形状的数量。|一共有多少个形状？"
        ),
        "count_of": _row("有几个{name}？|图中有几个{name}？|有多少个{name}？|图片里有多少个{name}？|数一数{name}有几个。"),
        "at": _row(
            "{cell}是什么？|{cell}有什么？|图片{cell}是什么？|图中{cell}有什么？|{cell}是什么形状？|{cell}的形状是什么？|图片的{cell}有什么？"
        ),
        "color": _row("{kind}是什么颜色？|{kind}的颜色是什么？|{kind}是什么颜色的？|图中的{kind}是什么颜色？|那个{kind}是什么颜色？"),
        "shape_of": _row("什么形状是{color}的？|哪个形状是{color}的？|{color}的是什么形状？|{color}的形状是什么？"),
        "exists": _row("有{name}吗？|图中有{name}吗？|图片里有没有{name}？|有没有{name}？|你看到{name}了吗？|图中有一个{name}吗？"),
        "where": _row("{name}在哪里？|{name}在哪儿？|{name}在什么位置？|{name}在图中的什么地方？|图中的{name}在哪里？"),
        "box": _row(
            "<ref>{name}</ref>在哪里？请给出边界框坐标。|找到<ref>{name}</ref>，请给出边界框坐标。"
            "|<ref>{name}</ref>在哪里？Please provide the bounding box coordinates.|请给出<ref>{name}</ref>的边界框坐标。"
        ),
        "text": _row(
            "图中的文字是什么？|图片上写了什么？|读出图中的文字。|文字是什么？|图中写着什么？|请读出文字。|这是什么字？|图片里的文字是什么？"
        ),
        "in_image": _row("第{n}张图里有什么？|描述第{n}张图。|第{n}张图片有什么？|第{n}张图显示了什么？|请描述第{n}张图片。|图{n}里有什么？"),
        "in_all": _row("描述这些图片。|这些图片里有什么？|请描述每张图片。|图片里都有什么？"),
        "count_in": _row("第{n}张图里有几个形状？|第{n}张图片有多少个形状？|第{n}张图有几个形状？|图{n}里有几个形状？"),
        "at_in": _row("第{n}张图的{cell}是什么？|第{n}张图的{cell}有什么？|第{n}张图片{cell}是什么？"),
        "color_in": _row("第{n}张图里的{kind}是什么颜色？|第{n}张图的{kind}是什么颜色？"),
        "more": _row("哪张图的形状更多？|哪张图的形状最多？|哪张图片形状更多？|哪张图里的形状更多？|哪一张图的形状最多？"),
        "which": _row("{name}在哪张图里？|哪张图里有{name}？|{name}在第几张图？|哪张图片有{name}？"),
        "images": _row("有几张图片？|一共有几张图？|我发了几张图片？"),
        "happens": _row("视频里发生了什么？|描述这个视频。|视频中发生了什么？|请描述视频。|视频里有什么？|发生了什么？|这个视频显示了什么？"),
        "way": _row("它往哪个方向移动？|它向哪边移动？|{kind}往哪个方向移动？|它怎么移动？|{kind}怎么移动？|形状往哪里移动？|移动方向是什么？"),
        "moves": _row("它在移动吗？|它动了吗？|{kind}在移动吗？"),
        "clip_color": _row("它是什么颜色？|形状是什么颜色？|{kind}是什么颜色？|视频里的形状是什么颜色？"),
        "clip_kind": _row("它是什么形状？|视频里是什么形状？|这是什么形状？"),
        "same_color": _row("它是什么颜色？|那它的颜色呢？|颜色呢？|它的颜色是什么？"),
        "same_kind": _row("它是什么形状？|形状呢？|那它的形状呢？"),
        "same_where": _row("它在哪里？|那它在哪里？|位置呢？"),
        "same_box": _row("请给出边界框坐标。|它的边界框呢？"),
        "next_kind": _row("{kind}呢？|那{kind}呢？"),
        "next_name": _row("{name}呢？|那{name}呢？"),
        "next_exists": _row("那{name}呢？|{name}呢？"),
        "next_at": _row("{cell}呢？|那{cell}呢？"),
        "next_image": _row("第{n}张图呢？|那第{n}张图呢？|图{n}呢？"),
        "they": _row("是哪些？|都是什么？|分别是什么？"),
        "length": _row("有几个字符？|一共几个字符？|它有多长？"),
        "first": _row("我先问了什么？|我最先问的是什么？|我的第一个问题是什么？|我第一个问题问了什么？"),
        "sure": _row("你确定吗？|真的吗？|确定吗？"),
        "thanks": _row("谢谢|谢谢！|多谢|谢谢你！"),
    },
    answers={
        "describe": "图中{things}。", "thing": "{cell}有一个{name}", "a_text": "有文字“{text}”",
        "count": "图中有{n}个形状。", "count_one": "图中有1个形状。", "count_none": "图中没有形状。",
        "count_of": "图中有{n}个{name}。", "count_of_one": "图中有1个{name}。", "count_of_none": "图中没有{name}。",
        "at": "是一个{name}。", "at_none": "{cell}什么都没有。",
        "color": "{kind}是{color}的。", "color_many": "{kind}有{colors}的。", "none": "图中没有{name}。",
        "shape_of": "{color}的是{kind}。", "shape_of_many": "{color}的是{kinds}。", "shape_of_none": "图中没有{color}的形状。",
        "yes": "有，{cell}有一个{name}。", "yes_many": "有，图中有{n}个{name}。", "no": "没有，图中没有{name}。",
        "where": "{name}在{cell}。", "where_many": "{name}在{cells}。",
        "text": "图中的文字是“{text}”。", "text_none": "图中没有文字。",
        "in_image": "第{n}张图{things}。",
        "count_in": "第{n}张图有{count}个形状。", "count_in_one": "第{n}张图有1个形状。",
        "at_none_in": "第{n}张图的{cell}什么都没有。",
        "more": "第{n}张图的形状更多：{high}个对{low}个。", "most": "第{n}张图的形状最多：{high}个。",
        "same": "它们的形状一样多：{high}个。", "same_top": "第{names}张图的形状最多：{high}个。",
        "which": "{name}在第{n}张图中。", "which_many": "{name}在第{names}张图中。", "which_none": "这些图中没有{name}。",
        "images": "一共有{n}张图片。",
        "moves": "一个{name}{way}移动。", "still": "一个{name}静止不动。",
        "yes_moves": "是的，它{way}移动。", "no_moves": "没有，它静止不动。", "yes_still": "是的，它静止不动。",
        "no_still": "不，它{way}移动。",
        "it_color": "它是{color}的。", "it_kind": "它是{kind}。", "it_where": "它在{cell}。",
        "they": "它们是{names}。", "it": "它是{names}。",
        "length": "它有{n}个字符。", "length_one": "它有1个字符。",
        "first": "你最先问的是：“{question}”", "sure": "是的。{answer}", "welcome": "不客气。",
        "think_scene": "我逐行看。{seen}", "seen": "{cell}：{name}。", "total": "一共{n}个。", "seen_nothing": "我没有看到形状。",
        "think_text": "我一个一个地读字母：{letters}。", "think_image": "第{n}张图：{names}。一共{count}个。",
        "think_clip": "我一帧一帧地看。是一个{name}。{moves}", "it_moves": "它{way}移动。", "it_still": "它静止不动。",
        "and": "和", "comma": "、",
    },
)  # fmt: skip

TONGUES = {"en": ENGLISH, "zh": CHINESE}
